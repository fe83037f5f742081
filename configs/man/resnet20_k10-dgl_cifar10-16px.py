_base_ = ['../_base_/models/man_dgl.py', '../_base_/recipes/cifar10-16px_15e.py']

model = dict(
    backbone=dict(depth=20),
    splitter=dict(num_blocks=10, stem='own'),
    input_shape=(3, 16, 16),
    # The small head that DGL alone has; the base file has that of the MAN++ release.
    aux_head=dict(host=dict(variant='dgl')),
)
