# SVHN: zero-pad 2, crop 32, no flip; batch 1024 in all.
# To use another folder, or copies that differ from the official files, override
# data_root and verify in train_, val_ and test_dataloader.dataset alike.
_base_ = './loaders.py'

dataset_type = 'SVHN'
data_root = 'data/svhn'

data_preprocessor = dict(
    num_classes=10,
    # of the recipe of MAN; pixel values are 0 to 255
    mean=[127.5, 127.5, 127.5],
    std=[127.5, 127.5, 127.5],
    to_rgb=False,  # the images are RGB already
)

train_pipeline = [
    dict(type='PadBorder', padding=2, padding_mode='constant'),
    dict(type='RandomCrop', crop_size=32),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    dataset=dict(
        # split='train+extra' adds 531,131 images
        type=dataset_type,
        data_root=data_root,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
