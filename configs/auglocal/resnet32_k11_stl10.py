_base_ = ['../_base_/models/auglocal.py', '../_base_/recipes/stl10_400e.py']

model = dict(
    splitter=dict(num_blocks=11),
    input_shape=(3, 96, 96),
)
