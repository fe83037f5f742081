# STL-10 as MAN trains it: batch 128, 400 epochs.
_base_ = ['../datasets/stl10.py', '../schedules/sgd_bs128_400e.py', '../default_runtime.py']
