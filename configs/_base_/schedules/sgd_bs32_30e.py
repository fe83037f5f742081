_base_ = './sgd_bs1024_90e.py'

# Total batch 32, for some thousand images; the cosine follows max_epochs.
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_epochs=30)

auto_scale_lr = dict(base_batch_size=32)
