_base_ = [
    '../_base_/models/manpp_k16_release.py',
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/sgd_bs1024_400e.py',
    '../_base_/default_runtime.py',
]
