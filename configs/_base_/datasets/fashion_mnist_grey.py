# Fashion-MNIST in memory as in fashion_mnist_in_memory.py, its one channel as it is; batch 128.
_base_ = './fashion_mnist_in_memory.py'

data_preprocessor = dict(mean=[72.94], std=[90.02])

train_dataloader = dict(batch_size=128, dataset=dict(dataset=dict(channels=1)))
val_dataloader = dict(dataset=dict(dataset=dict(channels=1)))
test_dataloader = val_dataloader
