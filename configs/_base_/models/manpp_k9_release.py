_base_ = './manpp_release.py'

# ResNet-32; the release calls it K = 8.
model = dict(
    splitter=dict(num_blocks=9),
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
                reconstruction_weight=5.0 * (1 - stage / 6),
                task_weight=0.5 * (1 - stage / 6),
            ),
        )
        for task_loss, net, stage, count in (
            ('contrast', '1c2f', 0, 1),
            ('cross_entropy', '2c2f', 1, 2),
            ('cross_entropy', '2c2f', 2, 3),
            ('cross_entropy', '2c2f', 3, 2),
        )
        for _ in range(count)
    ],
)
