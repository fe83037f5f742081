_base_ = [
    '../_base_/models/manpp_dgl.py',
    '../_base_/datasets/stl10.py',
    '../_base_/schedules/sgd_bs128_400e.py',
    '../_base_/default_runtime.py',
]

# The release calls it K = 8 and makes the stem a block of its own. Copies start apart from their
# source.
model = dict(
    splitter=dict(num_blocks=9, stem='own'),
    input_shape=(3, 96, 96),
    aux_head=dict(momentum_init='random', bias_init='random'),
)

# The release updates the averages before the optimizer's step.
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995, timing='pre_step')]
