_base_ = ['../_base_/models/infopro_imagenet.py', '../_base_/recipes/imagenet_90e.py']

model = dict(
    backbone=dict(depth=152),
    splitter=dict(num_blocks=4),
    aux_head=dict(task_weight=1.0),
)
