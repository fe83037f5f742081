# The same training counted in iterations, over a sampler without an end.
_base_ = './survival_config.py'
train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=18)
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=18, val_interval=12)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4))
log_processor = dict(by_epoch=False)
