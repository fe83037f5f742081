_base_ = ['../_base_/models/man_imagenet.py', '../_base_/recipes/imagenet_90e.py']

model = dict(splitter=dict(num_blocks=2))
