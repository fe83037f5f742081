_base_ = [
    '../_base_/models/manpp_dgl.py',
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/sgd_bs1024_400e.py',
    '../_base_/default_runtime.py',
]

# The release calls it K = 8 and makes the stem a block of its own. Copies start apart from their
# source.
model = dict(
    splitter=dict(num_blocks=9, stem='own'),
    aux_head=dict(momentum_init='random', bias_init='random'),
)

# The release updates the averages before the optimizer's step.
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995, timing='pre_step')]
