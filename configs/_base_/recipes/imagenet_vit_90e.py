_base_ = [
    '../datasets/imagenet_bs128.py',
    '../schedules/adamw_bs128_90e.py',
    '../default_runtime.py',
]
