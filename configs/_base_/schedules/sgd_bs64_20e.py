_base_ = './sgd_bs1024_400e.py'

# Total batch 64, a short run on a small data set.
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = dict(ramp_epochs=2)
train_cfg = dict(max_epochs=20)

auto_scale_lr = dict(base_batch_size=64)
