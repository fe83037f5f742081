# SGD with Nesterov momentum, total batch 1024, 400 epochs.
optim_wrapper = dict(
    type='BlockOptimWrapper',
    constructor='BlockOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.8, momentum=0.9, nesterov=True, weight_decay=1e-4),
)
param_scheduler = dict(type='RampCosineLR', ramp_epochs=10, ramp_start=0.01)

train_cfg = dict(by_epoch=True, max_epochs=400, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=1024, enable=False)
