_base_ = ['../datasets/cifar10.py', '../schedules/sgd_bs1024_400e.py', '../default_runtime.py']
