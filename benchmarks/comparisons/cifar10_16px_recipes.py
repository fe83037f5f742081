# The search for a local recipe closer to BP, on the held-out train images of cifar10_16px_rates.py:
# larger aux networks, made like the units to come (AugLocal) or DGL's larger kind, with and
# without MAN.
_base_ = './cifar10_16px_rates.py'


def auglocal(depth, tau):
    """AugLocal's aux network of so many units in the first block, fewer towards the last."""
    return dict(type='AugLocalAuxHead', depth=depth, tau=tau)


def method(name, base, aux_head):
    """A row, with keys of its aux head of its own."""
    return dict(name=name, base=base, aux_head=aux_head)


comparison = dict(
    _delete_=True,
    methods=[
        method('auglocal-d2', 'auglocal', auglocal(2, 0.0)),
        method('auglocal-d5', 'auglocal', auglocal(5, 0.5)),
        # All units that remain.
        method('auglocal-d9', 'auglocal', auglocal(9, 0.0)),
        method('man_auglocal-d2', 'man_auglocal', dict(host=auglocal(2, 0.0))),
        method('man_auglocal-d5', 'man_auglocal', dict(host=auglocal(5, 0.5))),
        'dgl-manpp',
        method('man_dgl-manpp', 'man_dgl', {}),
    ],
    seeds=[0],
)
del auglocal, method
