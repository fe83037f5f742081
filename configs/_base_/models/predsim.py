_base_ = './cifar_resnet.py'

# PredSim (ICML 2019), its prediction pooled to 512 features as in the comparison of AugLocal (ICLR
# 2024); the paper's own networks, which are wider, have 4096.
model = dict(aux_head=dict(type='PredSimAuxHead', pooled_features=512))
