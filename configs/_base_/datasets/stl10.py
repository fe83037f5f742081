# STL-10: zero-pad 4, crop 96, flip; batch 128 in all.
# To use another folder, or copies that differ from the official files, override
# data_root and verify in train_, val_ and test_dataloader.dataset alike.
_base_ = './loaders.py'

dataset_type = 'STL10'
data_root = 'data/stl10'

data_preprocessor = dict(
    num_classes=10,
    # of the recipe of MAN; pixel values are 0 to 255
    mean=[127.5, 127.5, 127.5],
    std=[127.5, 127.5, 127.5],
    to_rgb=False,  # the images are RGB already
)

train_pipeline = [
    dict(type='PadBorder', padding=4, padding_mode='constant'),
    dict(type='RandomCrop', crop_size=96),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=128,  # per process; the recipe is for one, or for 128 in all
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
