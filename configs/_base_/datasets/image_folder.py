# Your own images, in a folder for every class: random resized crop, flip; test on the middle.
# image_folder is the one place to say which folder and which size: see docs/own_folder.md.
_base_ = './imagenet.py'

image_folder = dict(
    root='data/images',  # or --data FOLDER
    image_size=128,
    val_fraction=0.2,  # of every class, where there are no folders train/ and val/
    split_seed=0,
)

dataset_type = 'ImageFolder'
_dataset = dict(type=dataset_type, data_root='data/images')

train_dataloader = dict(batch_size=32, dataset=_dataset)
val_dataloader = dict(batch_size=32, dataset=_dataset)
test_dataloader = dict(batch_size=32, dataset=dict(**_dataset, split='test'))

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
