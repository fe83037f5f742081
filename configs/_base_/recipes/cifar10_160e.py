_base_ = ['../datasets/cifar10.py', '../schedules/sgd_bs1024_160e.py', '../default_runtime.py']
