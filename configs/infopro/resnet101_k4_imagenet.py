_base_ = ['../_base_/models/infopro_imagenet.py', '../_base_/recipes/imagenet_90e.py']

model = dict(splitter=dict(num_blocks=4))
