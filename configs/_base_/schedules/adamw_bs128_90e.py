# AdamW for batch 128 per process, 90 epochs, cosine without warm-up: MAN++ for vision transformers.
# The paper gives the batch per GPU, not how many GPUs: no total batch is known to scale from.
optim_wrapper = dict(
    type='BlockOptimWrapper',
    constructor='BlockOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True)

train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=1)
val_cfg = dict()
test_cfg = dict()
