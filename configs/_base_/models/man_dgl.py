_base_ = './cifar_resnet.py'

# MAN (ECCV 2024) with DGL as its host, in the variant of the MAN++ release.
model = dict(
    aux_head=dict(type='MomentumAuxHead', mix='sum', host=dict(type='DGLAuxHead', variant='manpp'))
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
