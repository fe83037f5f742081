_base_ = './mlp.py'

# Mono-Forward (arXiv 2501.09238): a projection without bias for every hidden layer, the last one
# being the classifier. init_cfg=None keeps torch's own initialisation.
model = dict(
    splitter=dict(num_blocks=2, strategy='uniform', stem='own'),
    aux_head=dict(type='LinearAuxHead', bias=False),
    head=dict(type='ProjectionClsHead', init_cfg=None),
)
