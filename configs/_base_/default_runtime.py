default_scope = 'mman'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The last epoch counts: choosing the best by the test set would be unfair.
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    block_log=dict(type='BlockLogHook', interval=50),
    checkpoint_guard=dict(type='CheckpointGuardHook'),
    buffer_sync=dict(type='BlockBufferSyncHook'),
    class_count=dict(type='ClassCountHook'),
    # For model_wrapper_cfg.type='mman.engine.wrappers.LocalPipelineParallel' alone.
    pipeline=dict(type='PipelineHook'),
    # Exact resume, and a checkpoint at SIGTERM and SIGUSR1: docs/reproducibility.md.
    resume_state=dict(type='ResumeStateHook'),
    preemption=dict(type='PreemptionHook', interval=1),
    # policy: 'stop', 'skip' or 'lower_rate', by factor.
    finite_guard=dict(type='FiniteGuardHook', policy='stop', interval=50),
    # What it takes to repeat the training, in reproduce.json of every start.
    reproduce=dict(type='ReproduceHook'),
)

# How several processes train together; not used by one. The Runner looks wrappers
# up in mmengine alone, hence the full name.
model_wrapper_cfg = dict(type='mman.engine.wrappers.LocalDistributedDataParallel')

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds after which a process that waits for a lost one gives up.
    dist_cfg=dict(backend='nccl', timeout=600),
)

# Add dict(type='TensorboardVisBackend') to write TensorBoard's files as well.
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=None, deterministic=False)
