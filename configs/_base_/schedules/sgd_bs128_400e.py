_base_ = './sgd_bs1024_400e.py'

# Total batch 128.
optim_wrapper = dict(optimizer=dict(lr=0.1))

auto_scale_lr = dict(base_batch_size=128)
