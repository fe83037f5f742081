_base_ = './cifar_resnet.py'

# AugLocal (ICLR 2024): every unit is a block but the last depth + 1 = 6, which train jointly. The
# paper counts units, the name of a config counts blocks: K=16 there is k11 here, K=55 is k50.
model = dict(
    splitter=dict(strategy='single', stem='own'),
    aux_head=dict(type='AugLocalAuxHead', depth=5, tau=0.5),
)
