_base_ = './cifar_resnet.py'

# MAN++ (TPAMI 2026) with DGL as its host, in the variant of the MAN++ release.
model = dict(
    aux_head=dict(
        type='MomentumAuxHead', mix='scaled', host=dict(type='DGLAuxHead', variant='manpp')
    )
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
