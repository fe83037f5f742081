_base_ = './manpp_release.py'

# ResNet-110; the release calls it K = 55.
model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=55),
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
                reconstruction_weight=5.0 * (1 - stage / 53),
                task_weight=0.5 * (1 - stage / 53),
            ),
        )
        for task_loss, net, stage, count in (
            ('contrast', '1c2f', 0, 1),
            ('cross_entropy', '2c2f', 1, 17),
            ('cross_entropy', '2c2f', 2, 18),
            ('cross_entropy', '2c2f', 3, 18),
        )
        for _ in range(count)
    ],
)
