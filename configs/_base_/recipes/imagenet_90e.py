_base_ = ['../datasets/imagenet.py', '../schedules/sgd_bs1024_90e.py', '../default_runtime.py']
