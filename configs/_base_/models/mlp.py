# Hidden layers over grey images of 28 x 28 as a LocalImageClassifier; one block is plain
# backpropagation. Initialised as in the code of Mono-Forward's evaluation (arXiv 2511.01061).
model = dict(
    type='LocalImageClassifier',
    backbone=dict(
        type='MLP',
        in_features=784,
        widths=[1000, 1000],
        init_cfg=dict(
            type='Kaiming',
            layer='Linear',
            distribution='uniform',
            mode='fan_in',
            nonlinearity='relu',
        ),
    ),
    splitter=dict(type='LocalBlockSplitter', num_blocks=1),
    input_shape=(1, 28, 28),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=1000),
)
