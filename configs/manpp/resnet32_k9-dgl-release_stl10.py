_base_ = ['../_base_/models/manpp_dgl_release.py', '../_base_/recipes/stl10_400e.py']

model = dict(
    splitter=dict(num_blocks=9),
    input_shape=(3, 96, 96),
)
