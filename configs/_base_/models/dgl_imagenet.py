_base_ = './resnet_imagenet.py'

# DGL (ICML 2020) with the aux network of the CIFAR configs.
model = dict(aux_head=dict(type='DGLAuxHead', variant='dgl'))
