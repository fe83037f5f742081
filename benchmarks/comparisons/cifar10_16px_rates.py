# The search of learning rates for cifar10_16px_resnet20.py: five epochs on 45,000 train images,
# tested on the other 5,000; never on test images. One start a rate, each in a folder of its own:
#   --cfg-options optim_wrapper.optimizer.lr=0.05
_base_ = './cifar10_16px_resnet20.py'

train_dataloader = dict(dataset=dict(dataset=dict(indices=45_000)))
test_dataloader = dict(
    dataset=dict(dataset=dict(split='train', indices=list(range(45_000, 50_000))))
)
val_dataloader = test_dataloader

train_cfg = dict(max_epochs=5)

_DGL = dict(host=dict(variant='dgl'))
comparison = dict(
    # Those of the base file, none with a rate of its own.
    methods=[
        *('greedy', 'dgl', 'infopro', 'predsim', 'auglocal'),
        dict(name='man_dgl', base='man_dgl', aux_head=_DGL),
        *('man', 'man_auglocal'),
        dict(name='manpp_dgl', base='manpp_dgl', aux_head=_DGL),
        *('manpp', 'manpp_auglocal'),
    ],
    seeds=[0],
)
del _DGL
