_base_ = './cifar_resnet.py'

# MAN++ with InfoPro on ResNet-110 as its release has it for K = 32: the stem is a block of its own,
# with another head. Weights go from 5, 0.5 to 0, 0 by the stage of the next unit, not by the block;
# the stem's stand at the start. Copies start apart from their source.
model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=33, stem='own'),
    aux_head=[
        dict(
            type='MomentumAuxHead',
            mix='scaled',
            momentum_init='random',
            bias_init='random',
            host=dict(
                type='InfoProAuxHead',
                task_loss=task_loss,
                net=net,
                decoder='resize_first',
                reconstruction_weight=5.0 * (1 - stage / 30),
                task_weight=0.5 * (1 - stage / 30),
            ),
        )
        for task_loss, net, stage, count in (
            ('contrast', '1c2f', 0, 1),
            ('cross_entropy', '2c2f', 1, 10),
            ('cross_entropy', '2c2f', 2, 11),
            ('cross_entropy', '2c2f', 3, 10),
        )
        for _ in range(count)
    ],
)

# The release updates the averages before the optimizer's step.
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995, timing='pre_step')]
