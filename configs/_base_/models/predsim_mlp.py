_base_ = './mlp.py'

# The MLP of PredSim (ICML 2019): a loss for every hidden layer, and one for the classifier alone.
model = dict(
    backbone=dict(
        widths=[1024, 1024, 1024],
        norm_cfg=dict(type='BN1d'),
        act_cfg=dict(type='LeakyReLU', negative_slope=0.01),
        dropout=0.025,
        init_cfg=None,  # torch's own
    ),
    splitter=dict(num_blocks=4, stem='own'),
    aux_head=dict(type='PredSimAuxHead'),
    # The classifier starts at zero and counts as much as the predictions of the others.
    head=dict(
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=0.01),
        init_cfg=dict(type='Constant', layer='Linear', val=0.0),
    ),
)
