_base_ = ['../datasets/stl10.py', '../schedules/sgd_bs128_160e.py', '../default_runtime.py']
