import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from mman.engine.resume_changes import resume_changes
from mman.registry import HOOKS
from mman.utils.random_state import random_state, set_random_state
from mman.utils.unwrap import unwrap

from ..pipeline import data_rank, num_replicas
from ..pipeline.gather import gather_by_replica, random_state_of, trained_parameters

_KEY = 'resume'


@HOOKS.register_module()
class ResumeStateHook(Hook):
    """Put into checkpoints what an exact resume needs, and take it out again.

    A checkpoint gets the entry ``resume``: of every rank the states of the
    random number generators, the buffers, and gradients that wait for a later
    step; the place in the epoch; and the seed of the sampler. The history of
    logged numbers is cut to what the log still smooths over, so that
    checkpoints do not grow. Validation leaves the random numbers of training
    untouched, so that it may be left out or repeated.

    It needs this package's CheckpointHook and train loops, which
    ``mman.apis.train_model`` sees to. A checkpoint of another number of
    processes, or without the entry, is resumed as mmengine does, with a
    warning; so is one of other rates, schedules or batches an epoch.
    """

    # Last, after hooks that draw random numbers themselves.
    priority = 'LOWEST'

    def __init__(self):
        self._gathered: list[dict] | None = None
        self._before_val: dict | None = None
        self._pending: dict | None = None

    def before_checkpoint(self, runner: Runner) -> None:
        """Collect the states of all ranks; all of them must call it."""
        self._gathered = gather_by_replica(runner.model, self._own_state(runner))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the entry, and cut the history of logs."""
        _trim_history(checkpoint['message_hub']['log_scalars'], _window(runner))
        ranks, self._gathered = self._gathered, None
        if ranks is None and num_replicas(runner.model) == 1:
            ranks = [self._own_state(runner)]
        # Saved by someone else on one rank alone: nothing is known of the others.
        if ranks is None:
            return
        loop = runner.train_loop
        batch = getattr(loop, 'batch', 0)
        checkpoint[_KEY] = dict(
            ranks=ranks,
            batch=batch,
            batches=len(loop.dataloader),
            sampler_seed=getattr(_sampler(loop.dataloader), 'seed', None),
            unvalidated=self._before_val is None and batch == 0,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the entry, if training is resumed."""
        if not runner._resume:
            return
        for line in resume_changes(runner, checkpoint):
            runner.logger.warning(line)
        state, loop = checkpoint.get(_KEY), runner.train_loop
        problem = _problem(state, loop)
        if problem is not None:
            runner.logger.warning(
                f'checkpoint {runner._load_from!r} {problem}: training goes on from its weights, '
                'but with other random numbers than without the interruption, and from the '
                'beginning of the epoch'
            )
            return
        if state['batches'] != len(loop.dataloader):
            runner.logger.warning(
                f'checkpoint {runner._load_from!r} has {state["batches"]} batches an epoch, not '
                f'{len(loop.dataloader)}: what counts iterations no longer fits what counts epochs'
            )
        self._pending = state['ranks'][data_rank(runner.model)]
        loop.batch, loop.unvalidated = state['batch'], state['unvalidated']
        sampler = _sampler(loop.dataloader)
        if state['sampler_seed'] is not None and hasattr(sampler, 'seed'):
            sampler.seed = state['sampler_seed']

    def before_train(self, runner: Runner) -> None:
        """Put the state back where training goes on with a new epoch."""
        if self._pending is not None and not self._within_epoch(runner):
            self._restore(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Put the state back where training goes on within an epoch.

        What other hooks draw before an epoch was drawn before the interruption.
        """
        if self._pending is not None:
            self._restore(runner)

    def before_val(self, runner: Runner) -> None:
        """Remember the random numbers of training."""
        self._before_val = random_state_of(runner.model)

    def after_val(self, runner: Runner) -> None:
        """Go on with them."""
        if self._before_val is not None:
            set_random_state(self._before_val)
        self._before_val = None

    @staticmethod
    def _within_epoch(runner: Runner) -> bool:
        loop = runner.train_loop
        # The loop by iteration is a single epoch.
        return loop.batch > 0 or loop.batches is not None and loop.batches.endless

    def _own_state(self, runner: Runner) -> dict:
        """What this rank alone knows."""
        model = unwrap(runner.model)
        state = dict(random=self._before_val or random_state())
        if num_replicas(runner.model) > 1:
            state['buffers'] = {name: buffer.cpu() for name, buffer in model.named_buffers()}
        state['gradients'] = {
            name: p.grad.cpu() for name, p in trained_parameters(runner.model) if p.grad is not None
        }
        return state

    @torch.no_grad()
    def _restore(self, runner: Runner) -> None:
        model, state = unwrap(runner.model), self._pending
        self._pending = None
        for name, buffer in model.named_buffers():
            if name in state.get('buffers', {}):
                buffer.copy_(state['buffers'][name])
        for name, p in trained_parameters(runner.model):
            if name in state['gradients']:
                p.grad = state['gradients'][name].to(p).clone()
        set_random_state(state['random'])


def _problem(state: dict | None, loop) -> str | None:
    """Why training cannot go on exactly."""
    if state is None:
        return 'has no resume state'
    replicas = num_replicas(loop.runner.model)
    if len(state['ranks']) != replicas:
        return f'was saved by {len(state["ranks"])} processes, not {replicas}'
    if not hasattr(loop, 'unvalidated'):
        return f'cannot be resumed exactly by {type(loop).__name__}'
    if state['batch'] and state['batches'] != len(loop.dataloader):
        return f'has {state["batches"]} batches an epoch, not {len(loop.dataloader)}'
    return None


def _sampler(loader) -> object:
    """The sampler of single samples."""
    sampler = getattr(loader, 'sampler', None)
    if hasattr(sampler, 'seed'):
        return sampler
    return getattr(loader.batch_sampler, 'sampler', None)


def _window(runner: Runner) -> int | None:
    """How many of the last values the log looks at; None if at all."""
    processor = runner.log_processor
    windows = [processor.window_size, *(c.get('window_size', 1) for c in processor.custom_cfg)]
    if 'global' in windows:
        return None
    epoch = len(runner.train_dataloader)
    return max(epoch if window == 'epoch' else window for window in windows)


def _trim_history(scalars: dict, window: int | None) -> None:
    if window is None:
        return
    for name, history in scalars.items():
        values, counts = history.data
        # Copies: a view would be saved with all that it views.
        scalars[name] = HistoryBuffer(
            values[-window:].copy(), counts[-window:].copy(), history.max_length
        )
