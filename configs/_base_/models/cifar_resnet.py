# A CIFAR ResNet as a LocalImageClassifier; one block is plain backpropagation.
model = dict(
    type='LocalImageClassifier',
    backbone=dict(type='CIFARResNet', depth=32),
    splitter=dict(type='LocalBlockSplitter', num_blocks=1),
    input_shape=(3, 32, 32),
    neck=dict(type='GlobalAveragePooling'),
    # init_cfg=None keeps torch's own initialisation, as the releases do.
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, init_cfg=None),
)
