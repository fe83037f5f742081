_base_ = ['../_base_/models/manpp.py', '../_base_/recipes/stl10_400e.py']

model = dict(
    splitter=dict(num_blocks=8),
    input_shape=(3, 96, 96),
)
