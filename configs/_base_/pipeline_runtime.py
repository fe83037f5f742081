# In place of default_runtime.py: local blocks in stages, each in processes of its own, as
# docs/distributed.md says. Start as many processes as stages, or a multiple of it.
_base_ = 'default_runtime.py'

model_wrapper_cfg = dict(
    _delete_=True,
    type='mman.engine.wrappers.LocalPipelineParallel',
    stages=4,
    # The first blocks of stages 1, 2 and 3; None shares the arithmetic out.
    cuts=None,
    # Batches that may wait before a stage.
    depth=2,
)
