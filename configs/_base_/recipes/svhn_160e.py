_base_ = ['../datasets/svhn.py', '../schedules/sgd_bs1024_160e.py', '../default_runtime.py']
