from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from mman.registry import HOOKS
from mman.utils import UserError

from ..pipeline import mesh_of
from ..pipeline.gather import gather_training_state


@HOOKS.register_module()
class PipelineHook(Hook):
    """Prepare a :class:`mman.engine.wrappers.LocalPipelineParallel`, and bring it together.

    Before every validation and every checkpoint the pipeline is emptied: all
    processes are after the same iteration, and have the weights of all blocks.
    A checkpoint gets the optimizers and schedules of all blocks, under the keys
    of one process. Any other model is left alone.

    Raises:
        UserError: If something of the training is not for a pipeline.
    """

    # Before whatever looks at the weights, and before MomentumUpdateHook, which divides its work.
    priority = 'VERY_HIGH'

    def __init__(self):
        self._state: dict[str, dict] = {}

    def before_train(self, runner: Runner) -> None:
        """Lay the blocks on the stages."""
        model, wrappers = runner.model, runner.optim_wrapper
        if mesh_of(model) is None:
            return
        self._refuse(runner)
        model.prepare(wrappers, runner.train_dataloader.batch_size or 0)
        own = {block.name for block in model.own_blocks}
        for name, wrapper in wrappers.items():
            if name not in own:
                # Resumed ones are not needed here; schedules need not warn of no step.
                wrapper.optimizer.state.clear()
                wrapper.optimizer._global_step = 0
        names = [' '.join(f'block{k}' for k in span) for span in model.block_spans]
        stages = '; '.join(f'{i}: {blocks}' for i, blocks in enumerate(names))
        runner.logger.info(f'Pipeline of {model.mesh.replicas} x {len(names)} stages: {stages}')

    def before_val_epoch(self, runner: Runner) -> None:
        """Give all processes all weights, whose buffers were averaged before."""
        self._share(runner)

    def before_checkpoint(self, runner: Runner) -> None:
        """Collect what the checkpoint needs."""
        if self._share(runner):
            model, schedulers = runner.model, runner.param_schedulers
            self._state = gather_training_state(
                model.mesh, model.own_blocks, runner.optim_wrapper, schedulers
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the states of other processes."""
        state, self._state = self._state, {}
        for name, found in state.items():
            for kind, value in found.items():
                if name in checkpoint.get(kind, ()):
                    checkpoint[kind][name] = value

    def after_train(self, runner: Runner) -> None:
        """Empty the pipeline for good."""
        if self._share(runner):
            runner.model.stage.leave()

    @staticmethod
    def _share(runner: Runner) -> bool:
        """Whether there is a pipeline, which all processes then have all of."""
        pipeline = getattr(runner.model, 'stage', None) is not None
        if pipeline:
            runner.model.share()
        return pipeline

    @staticmethod
    def _refuse(runner: Runner) -> None:
        """What looks at all blocks in every iteration, or counts processes."""
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise UserError(
                'custom_hooks has an EMAHook, which averages all blocks in every iteration: a '
                'pipeline has them in other processes; leave it out'
            )
        if (runner.auto_scale_lr or {}).get('enable'):
            raise UserError(
                'auto_scale_lr.enable=True multiplies by the number of processes, of which stages '
                'are no replicas: set optim_wrapper.optimizer.lr instead'
            )

        if getattr(runner.optim_wrapper, 'loss_scaler', None) is not None:
            raise UserError(
                "optim_wrapper.dtype='float16' has one loss scale for all blocks, which would wait "
                "for the last stage: a pipeline needs dtype='bfloat16' or float32"
            )
