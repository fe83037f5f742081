_base_ = './cifar_resnet.py'

# MAN++ with InfoPro as its release has it: the stem is a block of its own, with another head.
# Weights go from 5, 0.5 to 0, 0 by the stage of the next unit, not by the block; the stem's stand
# at the start. Copies start apart from their source. The heads depend on K: manpp_k*_release.py.
model = dict(splitter=dict(stem='own'))

# The release updates the averages before the optimizer's step.
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995, timing='pre_step')]
