# Fashion-MNIST in three equal channels: zero-pad 2, crop 28, flip; batch 1024 in all.
# The papers have no recipe for it; this one is that of SVHN with a flip.
# To use another folder, or copies that differ from the official files, override
# data_root and verify in train_, val_ and test_dataloader.dataset alike.
_base_ = './loaders.py'

dataset_type = 'FashionMNIST'
data_root = 'data/fashion_mnist'

data_preprocessor = dict(
    num_classes=10,
    # of the train images; pixel values are 0 to 255
    mean=[72.94, 72.94, 72.94],
    std=[90.02, 90.02, 90.02],
    to_rgb=False,  # the images are RGB already
)

train_pipeline = [
    dict(type='PadBorder', padding=2, padding_mode='constant'),
    dict(type='RandomCrop', crop_size=28),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
