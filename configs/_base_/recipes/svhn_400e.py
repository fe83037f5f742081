_base_ = ['../datasets/svhn.py', '../schedules/sgd_bs1024_400e.py', '../default_runtime.py']
