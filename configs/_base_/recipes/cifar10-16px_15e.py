# CIFAR-10 averaged to 16 x 16 pixels, batch 128, 15 epochs: for a machine without a GPU.
# data/cifar10_jpeg is CIFAR-10 (JPEG) in the official layout; for the official files override
# data_root and verify.
_base_ = [
    '../datasets/cifar10_in_memory.py',
    '../schedules/sgd_bs128_400e.py',
    '../default_runtime.py',
]

data_preprocessor = dict(
    std=[60.3, 59.7, 64.4],  # of the averaged train images
    augments=[
        dict(type='BatchRandomCrop', padding=2, padding_mode='reflect'),
        dict(type='BatchRandomFlip', prob=0.5),
    ],
)

train_dataloader = dict(
    batch_size=128,
    dataset=dict(pool=2, dataset=dict(data_root='data/cifar10_jpeg', verify=False)),
)
test_dataloader = dict(
    batch_size=1000,
    dataset=dict(pool=2, dataset=dict(data_root='data/cifar10_jpeg', verify=False)),
)
val_dataloader = test_dataloader

param_scheduler = dict(ramp_epochs=1)
train_cfg = dict(max_epochs=15, val_interval=5)
