# The predictions alone, with ReLU as in the authors' runs.
_base_ = './mlp3x1024_k4_fashionmnist.py'

model = dict(
    backbone=dict(act_cfg=dict(_delete_=True, type='ReLU')),
    aux_head=dict(similarity_weight=0.0, prediction_weight=1.0),
    head=dict(loss=dict(loss_weight=1.0)),
)
