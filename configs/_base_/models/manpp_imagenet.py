_base_ = './resnet_imagenet.py'

# MAN++ (TPAMI 2026) with InfoPro (cross-entropy) as its host.
model = dict(
    aux_head=dict(
        type='MomentumAuxHead',
        mix='scaled',
        # Weights of ResNet-101 and ResNeXt-101; ResNet-152 has task_weight=1.0. For ResNet-18,
        # 34 and 50 none are published: they take these.
        host=dict(
            type='InfoProImageNetAuxHead',
            reconstruction_weight=5.0,
            task_weight=0.75,
        ),
    )
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
