_base_ = './resnet_imagenet.py'

# InfoPro (ICLR 2021) with cross-entropy, as on ImageNet.
model = dict(
    # Weights of ResNet-101 and ResNeXt-101; ResNet-152 has task_weight=1.0. For ResNet-18, 34
    # and 50 none are published: they take these.
    aux_head=dict(
        type='InfoProImageNetAuxHead',
        reconstruction_weight=5.0,
        task_weight=0.75,
    )
)
