from functools import partial
from math import inf
from numbers import Real

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.registry import HOOKS
from mman.utils import UserError, integer_from, one_of, should_be
from mman.utils.unwrap import unwrap

from ..optim import BlockOptimWrapper, BlockOptimWrapperDict
from ..pipeline import mesh_of
from ..schedulers import RampCosineLR


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Deal with numbers that are not finite, block by block.

    With the policy 'stop', training ends with an error that names the block
    and the first iteration whose loss was not finite. The losses are looked at
    on the device, and read once per interval and before every checkpoint. With
    'skip', a block whose gradients are not finite does not step in that
    iteration; the others do. With 'lower_rate' its learning rate is multiplied
    by a factor as well, for good. Both read one flag per block and step from
    the device: on a GPU, K waits an iteration. In several processes gradients
    are looked at after they were averaged, so all ranks decide alike.

    Whatever the policy, no checkpoint is saved with weights that are not
    finite: the last good one is kept, and training ends.

    In float16 the loss scaler skips such steps already: there 'stop' leaves
    losses alone and looks at the weights, 'skip' adds nothing, and
    'lower_rate' is refused. Gradients of an accumulation that is skipped are lost.

    Args:
        policy (str): 'stop', 'skip' or 'lower_rate'. Defaults to 'stop'.
        interval (int): Iterations between two looks with 'stop'. Defaults to
            50.
        factor (float): Of 'lower_rate', above 0 and below 1. Defaults to 0.5.

    Raises:
        UserError: If an argument is none of these; in training, as said above.
    """

    # Before a checkpoint by iteration.
    priority = 'NORMAL'

    def __init__(self, policy: str = 'stop', interval: int = 50, factor: float = 0.5):
        where = 'default_hooks.finite_guard'
        one_of(f'{where}.policy', policy, ('stop', 'skip', 'lower_rate'))
        integer_from(1, f'{where}.interval', interval)
        if not isinstance(factor, Real) or not 0 < factor < 1:
            raise should_be(f'{where}.factor', factor, 'a number between 0 and 1')
        self.policy = policy
        self.interval = interval
        self.factor = factor
        self._scaled = False
        # By blocks that train together the first iteration, of each of them, whose loss was not
        # finite; 0 if none was.
        self._first: dict[tuple[int, ...], torch.Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Put a guard before every block's step, if the policy needs one."""
        wrappers = runner.optim_wrapper
        self._scaled = getattr(wrappers, 'loss_scaler', None) is not None
        if self.policy == 'stop':
            return
        if not isinstance(wrappers, BlockOptimWrapperDict) or not all(
            isinstance(wrapper, BlockOptimWrapper) for wrapper in wrappers.values()
        ):
            raise UserError(
                f'default_hooks.finite_guard.policy={self.policy!r} needs optim_wrapper.type='
                f"'BlockOptimWrapper' or 'BlockAmpOptimWrapper', not {type(wrappers).__name__}; "
                "use 'stop'"
            )
        if self.policy == 'lower_rate' and self._scaled:
            raise UserError(
                "default_hooks.finite_guard.policy='lower_rate' is not for float16, whose loss "
                "scaler skips such steps itself; use 'stop' or dtype='bfloat16'"
            )
        for name, wrapper in wrappers.items():
            wrapper.step_guard = partial(self._allows, runner, name, wrapper)

    def after_train_iter(self, runner: Runner, *args, outputs=None, **kwargs) -> None:
        """Look at the losses; tell once per interval."""
        if self.policy != 'stop' or self._scaled:
            return
        model = unwrap(runner.model)
        losses = getattr(model, 'block_losses', None)
        losses = outputs['loss'].detach().reshape(1) if losses is None else losses
        blocks = getattr(model, 'active_blocks', (0,))
        first = self._first.get(blocks, torch.zeros_like(losses, dtype=torch.int64))
        new = ~losses.isfinite() & (first == 0)
        self._first[blocks] = torch.where(new, runner.iter + 1, first)
        looks = self.every_n_train_iters(runner, self.interval)
        if mesh_of(runner.model) is not None:
            # Its stages are in different iterations: they have to end together first.
            if looks and self._first[blocks].any():
                runner.model.ask_to_stop()
            looks = runner.model.stopping
        if looks or self.is_last_train_iter(runner):
            self._stop_if_needed(runner)

    def before_checkpoint(self, runner: Runner) -> None:
        """Refuse to save what is not finite."""
        self._stop_if_needed(runner)
        model = unwrap(runner.model)
        state = {name: t for name, t in model.state_dict().items() if t.is_floating_point()}
        bad = torch.stack([~tensor.isfinite().all() for tensor in state.values()]).int()
        all_reduce(bad, op='max')
        found = [name for name, is_bad in zip(state, bad.tolist(), strict=True) if is_bad]
        if found:
            where = _block_of(model, found[0])
            more = f' and {len(found) - 1} more' if len(found) > 1 else ''
            raise UserError(
                f'{found[0]!r}{where}{more} is not finite, so no checkpoint was saved in epoch '
                f'{runner.epoch + 1}, about iteration {runner.iter}. {self._advice(runner)}'
            )

    def _stop_if_needed(self, runner: Runner) -> None:
        found = {}
        for blocks, first in self._first.items():
            # Ranks may differ in their losses, but must end together.
            worst = first.clone()
            all_reduce(worst, op='max')
            found |= {k: i for k, i in zip(blocks, worst.tolist(), strict=True) if i}
        if found:
            start = min(found.values())
            blocks = ', '.join(f'block{k}' for k in sorted(found) if found[k] == start)
            raise UserError(
                f'the loss of {blocks} was not finite in iteration {start}. {self._advice(runner)}'
            )

    @staticmethod
    def _advice(runner: Runner) -> str:
        last = runner.message_hub.get_info('last_ckpt')
        kept = f'the last good checkpoint is {last!r}' if last else 'no checkpoint was saved yet'
        return (
            f'Training has stopped; {kept}. Lower the learning rate or clip gradients, or set '
            "default_hooks.finite_guard.policy to 'skip' or 'lower_rate'"
        )

    def _allows(self, runner: Runner, name: str, wrapper: BlockOptimWrapper) -> bool:
        """Whether a block may step; called just before it would."""
        gradients = [p.grad for p in wrapper.parameters_with_gradients()]
        # The largest magnitudes, which do not overflow as sums of squares do.
        largest = torch.stack(torch._foreach_norm(gradients, inf))
        if bool(largest.isfinite().all()):
            return True
        what = 'its step is skipped'
        if self.policy == 'lower_rate':
            self._lower(wrapper, (runner.param_schedulers or {}).get(name, []))
            what += f' and its learning rate multiplied by {self.factor:g}'
        runner.logger.warning(
            f'{name}: gradients are not finite in iteration {runner.iter + 1}; {what}'
        )
        return False

    def _lower(self, wrapper: BlockOptimWrapper, schedulers: list) -> None:
        """Scale the learning rate, and what schedules compute it from."""
        for group in wrapper.optimizer.param_groups:
            for key in ('lr', 'initial_lr'):
                if key in group:
                    group[key] *= self.factor
        for scheduler in schedulers:
            if scheduler.param_name == 'lr':
                scheduler.base_values = [value * self.factor for value in scheduler.base_values]
            if isinstance(scheduler, RampCosineLR):
                scheduler.ramp_start *= self.factor


def _block_of(model: torch.nn.Module, name: str) -> str:
    """Where an entry of the model is, for a message."""
    for block in getattr(model, 'local_blocks', ()):
        if name in block.state_dict():
            return f' of {block.name}'
    return ''
