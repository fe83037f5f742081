_base_ = './cifar_resnet.py'

# MAN++ (TPAMI 2026) with InfoPro (cross-entropy) as its host.
model = dict(
    aux_head=dict(
        type='MomentumAuxHead',
        mix='scaled',
        host=dict(
            type='InfoProAuxHead',
            task_loss='cross_entropy',
            net='2c2f',
            reconstruction_weight=5.0,
            task_weight=0.5,
        ),
    )
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
