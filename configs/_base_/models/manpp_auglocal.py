_base_ = './cifar_resnet.py'

# MAN++ (TPAMI 2026) with AugLocal as its host; the blocks are those of AugLocal alone.
model = dict(
    splitter=dict(strategy='single', stem='own'),
    aux_head=dict(
        type='MomentumAuxHead',
        mix='scaled',
        host=dict(type='AugLocalAuxHead', depth=5, tau=0.5),
    ),
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
