# All methods on all of CIFAR-10 averaged to 16 x 16 pixels, ResNet-20 cut at every unit, 15 epochs.
# The learning rates were chosen with cifar10_16px_rates.py, out of 0.03, 0.1 and 0.3; it is 0.1
# where no other is given.
_base_ = [
    '../../configs/_base_/models/dgl.py',
    '../../configs/_base_/recipes/cifar10-16px_15e.py',
]

model = dict(
    backbone=dict(depth=20),
    splitter=dict(num_blocks=10, stem='own'),
    input_shape=(3, 16, 16),
)

comparison = dict(
    methods=[
        dict(name='greedy', base='greedy', recipe={'optim_wrapper.optimizer.lr': 0.3}),
        'dgl',
        'infopro',
        'predsim',
        'auglocal',
        # The very head that dgl is; the base file has the larger one of the MAN++ release.
        dict(name='man_dgl', base='man_dgl', aux_head=dict(host=dict(variant='dgl'))),
        'man',
        'man_auglocal',
        dict(name='manpp_dgl', base='manpp_dgl', aux_head=dict(host=dict(variant='dgl'))),
        'manpp',
        'manpp_auglocal',
    ],
    seeds=[0, 1, 2],
)
