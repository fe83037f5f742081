_base_ = ['../_base_/models/vit_imagenet.py', '../_base_/recipes/imagenet_vit_90e.py']
