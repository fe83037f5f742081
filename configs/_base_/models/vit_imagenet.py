# A vision transformer of mmpretrain as a LocalImageClassifier; one block is plain backpropagation.
model = dict(
    type='LocalImageClassifier',
    # mmpretrain's 'deit-*' are ViT-Tiny, Small and Base: 12 layers of 192, 384 and 768 channels,
    # without a distillation token. Its own 'small' is another network.
    backbone=dict(type='VisionTransformer', arch='deit-small', img_size=224, patch_size=16),
    splitter=dict(type='LocalBlockSplitter', num_blocks=1, strategy='uniform'),
    input_shape=(3, 224, 224),
    head=dict(type='VisionTransformerClsHead', num_classes=1000, in_channels=384),
)
