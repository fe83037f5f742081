_base_ = './man.py'

# MAN on ResNet-32 as its release has it: the stem belongs to the first of 15 blocks.
model = dict(
    splitter=dict(num_blocks=15),
    # The release asks for 5, 0.5 -> 0, 0 but takes the stage of the next unit
    # for the block index; it initialises the two copies apart from their source.
    aux_head=dict(
        momentum_init='random',
        bias_init='random',
        host=dict(
            decoder='resize_first',
            reconstruction_weight=[5.0 * (1 - 1 / 14)] * 4
            + [5.0 * (1 - 2 / 14)] * 5
            + [5.0 * (1 - 3 / 14)] * 5,
            task_weight=[0.5 * (1 - 1 / 14)] * 4
            + [0.5 * (1 - 2 / 14)] * 5
            + [0.5 * (1 - 3 / 14)] * 5,
        ),
    ),
)

# The release updates the averages before the optimizer's step.
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995, timing='pre_step')]
