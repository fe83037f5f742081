# BP, DGL and DGL + MAN on CIFAR-10, ResNet-32 in 16 blocks, the images in memory: what
# benchmarks/gpu.sh trains, which shortens the schedule to what a GPU has time for.
_base_ = [
    '../../configs/_base_/models/dgl.py',
    '../../configs/_base_/datasets/cifar10_in_memory.py',
    '../../configs/_base_/schedules/sgd_bs1024_160e.py',
    '../../configs/_base_/default_runtime.py',
]

model = dict(splitter=dict(num_blocks=16, stem='own'))

comparison = dict(
    # The very head that dgl is; the base file has the larger one of the MAN++ release.
    methods=[
        'dgl',
        dict(name='man_dgl', base='man_dgl', aux_head=dict(host=dict(variant='dgl'))),
    ],
    seeds=[0],
)
