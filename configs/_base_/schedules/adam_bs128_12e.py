# Adam at a constant rate, total batch 128, 12 epochs.
optim_wrapper = dict(
    type='BlockOptimWrapper',
    constructor='BlockOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=3.873086262136253e-4),
)

train_cfg = dict(by_epoch=True, max_epochs=12, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=128, enable=False)
