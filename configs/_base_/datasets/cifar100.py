# CIFAR-100: as CIFAR-10, with its own normalisation; batch 1024 in all.
# To use another folder, or copies that differ from the official files, override
# data_root and verify in train_, val_ and test_dataloader.dataset alike.
_base_ = './loaders.py'

dataset_type = 'CIFAR100'
data_root = 'data/cifar100'

data_preprocessor = dict(
    num_classes=100,
    # of the train images; pixel values are 0 to 255
    mean=[129.3, 124.1, 112.4],
    std=[68.2, 65.4, 70.4],
    to_rgb=False,  # the images are RGB already
)

train_pipeline = [
    dict(type='PadBorder', padding=4, padding_mode='reflect'),
    dict(type='RandomCrop', crop_size=32),
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

val_evaluator = dict(topk=(1, 5))
test_evaluator = val_evaluator
