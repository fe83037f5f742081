# Ten local blocks, the first nine trained by the project's own head.
_base_ = [
    '../../../configs/_base_/models/cifar_resnet.py',
    '../../../configs/_base_/datasets/digits.py',
    '../../../configs/_base_/schedules/sgd_bs64_20e.py',
    '../../../configs/_base_/default_runtime.py',
]

custom_imports = dict(
    imports=['projects.example_custom_head.cosine_head'], allow_failed_imports=False
)

model = dict(
    backbone=dict(depth=20),
    splitter=dict(num_blocks=10, stem='own'),
    input_shape=(3, 8, 8),
    aux_head=dict(type='CosineAuxHead', scale=10.0),
)
