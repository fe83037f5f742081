# SGD with Nesterov momentum, total batch 1024, 90 epochs, cosine without warm-up.
optim_wrapper = dict(
    type='BlockOptimWrapper',
    constructor='BlockOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.4, momentum=0.9, nesterov=True, weight_decay=1e-4),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True)

train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=1024, enable=False)
