_base_ = [
    '../_base_/models/manpp_k16_release.py',
    '../_base_/datasets/stl10.py',
    '../_base_/schedules/sgd_bs128_400e.py',
    '../_base_/default_runtime.py',
]

model = dict(input_shape=(3, 96, 96))
