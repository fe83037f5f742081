_base_ = './cifar_resnet.py'

# The contrastive InfoPro; leaves set the loss weights of their data set and K.
model = dict(aux_head=dict(type='InfoProAuxHead', task_loss='contrast', net='1c2f'))
