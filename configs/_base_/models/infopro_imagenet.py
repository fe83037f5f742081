_base_ = './resnet_imagenet.py'

# InfoPro (ICLR 2021) with cross-entropy, as on ImageNet.
model = dict(
    aux_head=dict(
        type='InfoProImageNetAuxHead',
        reconstruction_weight=5.0,
        task_weight=0.75,
    )
)
