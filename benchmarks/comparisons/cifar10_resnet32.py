# All methods on a subset of CIFAR-10, ResNet-32 in eight blocks, for a machine without a GPU.
# The first images of the files, and a batch of 64 with the learning rate of 1,024 images scaled.
_base_ = '../../configs/man/resnet32_k8_cifar10.py'

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(indices=1600),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(indices=2000),
)
val_dataloader = test_dataloader

optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = dict(ramp_epochs=1)
train_cfg = dict(max_epochs=3, val_interval=3)
auto_scale_lr = dict(base_batch_size=64)

comparison = dict(num_blocks=[8], seeds=[0])
