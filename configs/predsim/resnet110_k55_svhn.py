_base_ = ['../_base_/models/predsim.py', '../_base_/recipes/svhn_400e.py']

model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=55, stem='own'),
)
