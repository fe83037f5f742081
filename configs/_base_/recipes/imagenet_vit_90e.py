# ImageNet-1k as MAN++ trains vision transformers: batch 128 per process, 90 epochs.
_base_ = [
    '../datasets/imagenet_bs128.py',
    '../schedules/adamw_bs128_90e.py',
    '../default_runtime.py',
]
