_base_ = './cifar_resnet.py'

model = dict(aux_head=dict(type='FeatureReconstructionAuxHead'))
