_base_ = './resnet_imagenet.py'

# MAN++ (TPAMI 2026) with InfoPro (cross-entropy) as its host.
model = dict(
    aux_head=dict(
        type='MomentumAuxHead',
        mix='scaled',
        # The release's weights for every network. InfoPro alone has 1.0 for ResNet-152.
        host=dict(
            type='InfoProImageNetAuxHead',
            reconstruction_weight=5.0,
            task_weight=0.75,
        ),
    )
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
