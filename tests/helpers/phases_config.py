# As survival_config.py without what phases refuse, in three blocks, one after the other.
_base_ = 'survival_config.py'

model = dict(
    splitter=dict(num_blocks=3),
    aux_head=dict(host=dict(_delete_=True, type='LinearAuxHead')),
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.9), dict(type='InterruptHook')]
phases = 'sequential'
