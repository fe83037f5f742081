"""What lets every training survive an interruption, whatever its config leaves out."""

from mmengine.config import Config, ConfigDict

# What the Runner has by default, and leaves out itself where the config says None.
RUNNER_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
FAULT_TOLERANCE_HOOKS = dict(
    resume_state='mman.ResumeStateHook',
    preemption='mman.PreemptionHook',
    finite_guard='mman.FiniteGuardHook',
    reproduce='mman.ReproduceHook',
)
_LOOPS = dict(
    EpochBasedTrainLoop='mman.ResumableEpochTrainLoop',
    IterBasedTrainLoop='mman.ResumableIterTrainLoop',
)


def set_fault_tolerance(cfg: Config) -> None:
    """Replace mmengine's train loops and CheckpointHook, and add the hooks of fault tolerance.

    A hook that the config sets is left as it is, None leaves it out; loops and
    hooks of other types stay. The config is changed in place.
    """
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = ConfigDict()
    hooks = cfg.default_hooks
    checkpoint = hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook', interval=1))
    if checkpoint is not None and checkpoint.get('type') == 'CheckpointHook':
        checkpoint.type = 'mman.CheckpointHook'
    if checkpoint is not None:
        for name, kind in FAULT_TOLERANCE_HOOKS.items():
            hooks.setdefault(name, ConfigDict(type=kind))
    for name in [name for name, hook in hooks.items() if hook is None]:
        # mmengine takes None for its own default hooks only.
        if name not in RUNNER_HOOKS:
            hooks.pop(name)
    loop = cfg.get('train_cfg')
    if loop is None:
        return
    if 'type' not in loop and 'by_epoch' in loop:
        loop.type = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
    loop.type = _LOOPS.get(loop.get('type'), loop.get('type'))
