_base_ = './manpp_release.py'

# ResNet-110; the release calls it K = 32.
model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=33),
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
