# Fashion-MNIST as in fashion_mnist.py (zero-pad 2, crop 28, flip; batch 1024 in all),
# held in memory as uint8 and augmented in batches on the training device.
# The keys of the data set are those of train_, val_ and test_dataloader.dataset.dataset.
_base_ = './fashion_mnist.py'

data_preprocessor = dict(
    type='BatchAugmentDataPreprocessor',
    augments=[
        dict(type='BatchRandomCrop', padding=2, padding_mode='constant'),
        dict(type='BatchRandomFlip', prob=0.5),
    ],
)

# Nothing is done to single images.
train_pipeline = []
test_pipeline = []

# To fetch a batch takes less time than to send it between processes.
loader = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type='in_memory_collate'))
source = dict(
    type={{_base_.dataset_type}},
    data_root={{_base_.data_root}},
    verify=True,
    serialize_data=False,
)

train_dataloader = dict(
    **loader,
    dataset=dict(_delete_=True, type='InMemoryDataset', dataset=dict(split='train', **source)),
)
val_dataloader = dict(
    **loader,
    dataset=dict(_delete_=True, type='InMemoryDataset', dataset=dict(split='test', **source)),
)
test_dataloader = val_dataloader
del loader, source
