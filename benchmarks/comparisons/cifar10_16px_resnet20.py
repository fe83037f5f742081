# All methods on all of CIFAR-10 averaged to 16 x 16 pixels, ResNet-20 cut at every unit, 15 epochs:
# small enough for a machine without a GPU, large enough to tell methods apart.
# data/cifar10_jpeg is CIFAR-10 (JPEG) in the official layout; for the official files override
# data_root and verify. The learning rates were chosen with cifar10_16px_rates.py, out of 0.03, 0.1
# and 0.3; it is 0.1 where no other is given.
_base_ = [
    '../../configs/_base_/models/dgl.py',
    '../../configs/_base_/datasets/cifar10_in_memory.py',
    '../../configs/_base_/schedules/sgd_bs128_400e.py',
    '../../configs/_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=20),
    splitter=dict(num_blocks=10, stem='own'),
    input_shape=(3, 16, 16),
)

data_preprocessor = dict(
    std=[60.3, 59.7, 64.4],  # of the averaged train images
    augments=[
        dict(type='BatchRandomCrop', padding=2, padding_mode='reflect'),
        dict(type='BatchRandomFlip', prob=0.5),
    ],
)

train_dataloader = dict(
    batch_size=128,
    dataset=dict(pool=2, dataset=dict(data_root='data/cifar10_jpeg', verify=False)),
)
test_dataloader = dict(
    batch_size=1000,
    dataset=dict(pool=2, dataset=dict(data_root='data/cifar10_jpeg', verify=False)),
)
val_dataloader = test_dataloader

param_scheduler = dict(ramp_epochs=1)
train_cfg = dict(max_epochs=15, val_interval=5)

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
