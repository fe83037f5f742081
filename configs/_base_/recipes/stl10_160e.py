# STL-10 as InfoPro trains it: batch 128, 160 epochs.
_base_ = ['../datasets/stl10.py', '../schedules/sgd_bs128_160e.py', '../default_runtime.py']
