# CIFAR-10 as InfoPro trains it: batch 1024, 160 epochs.
_base_ = ['../datasets/cifar10.py', '../schedules/sgd_bs1024_160e.py', '../default_runtime.py']
