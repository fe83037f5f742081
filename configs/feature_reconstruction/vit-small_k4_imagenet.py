# The paper cuts Swin-Tiny into 2 and 4 blocks, on smaller sets; this is the recipe of manpp/.
_base_ = [
    '../_base_/models/vit_imagenet.py',
    '../_base_/datasets/imagenet_bs128.py',
    '../_base_/schedules/adamw_bs128_90e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    splitter=dict(num_blocks=4),
    aux_head=dict(type='FeatureReconstructionAuxHead'),
)
