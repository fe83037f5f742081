# ImageNet-1k as InfoPro and MAN train ResNets: batch 1024, 90 epochs.
_base_ = ['../datasets/imagenet.py', '../schedules/sgd_bs1024_90e.py', '../default_runtime.py']
