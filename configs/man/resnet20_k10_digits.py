# Ten local blocks on real 8 x 8 digits that come with scikit-learn: no download.
_base_ = [
    '../_base_/models/man.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/sgd_bs64_20e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=20),
    splitter=dict(num_blocks=10, stem='own'),
    input_shape=(3, 8, 8),
    # Little to rebuild in 8 x 8 pictures: the label counts as much.
    aux_head=dict(host=dict(reconstruction_weight=1.0, task_weight=1.0)),
)
