_base_ = ['../datasets/stl10.py', '../schedules/sgd_bs128_400e.py', '../default_runtime.py']
