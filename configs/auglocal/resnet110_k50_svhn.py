_base_ = ['../_base_/models/auglocal.py', '../_base_/recipes/svhn_400e.py']

model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=50),
)
