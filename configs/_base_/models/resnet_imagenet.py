# A ResNet of mmpretrain as a LocalImageClassifier; one block is plain backpropagation.
model = dict(
    type='LocalImageClassifier',
    # As the releases do, the last BatchNorm of a branch does not start at zero.
    backbone=dict(type='ResNet', depth=101, out_indices=(3,), zero_init_residual=False),
    splitter=dict(type='LocalBlockSplitter', num_blocks=1),
    input_shape=(3, 224, 224),
    neck=dict(type='GlobalAveragePooling'),
    # init_cfg=None keeps torch's own initialisation, as the releases do.
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=2048, init_cfg=None),
)
