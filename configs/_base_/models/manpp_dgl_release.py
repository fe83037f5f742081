_base_ = './manpp_dgl.py'

# As the release of MAN++ has it: the stem is a block of its own, so that its K = 8 and 32 are 9 and
# 33 blocks here. Copies start apart from their source.
model = dict(
    splitter=dict(stem='own'),
    aux_head=dict(momentum_init='random', bias_init='random'),
)

# The release updates the averages before the optimizer's step.
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995, timing='pre_step')]
