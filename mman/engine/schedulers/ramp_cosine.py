import math

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin

from mman.registry import PARAM_SCHEDULERS
from mman.utils import UserError


@PARAM_SCHEDULERS.register_module()
class RampCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Cosine decay with a linear ramp, as the InfoPro and MAN releases train CIFAR.

    With E epochs, epochs e = 1 .. E and the optimizer's learning rate lr,
    ``c(e) = 0.5 * lr * (1 + cos(pi * e / E))``. After the ramp of R epochs the
    learning rate of epoch e is c(e); during it,
    ``c(e) * (e - 1) / R + ramp_start * (R + 1 - e) / R``. A training shorter
    than its ramp ends inside it.

    Args:
        ramp_epochs (int): R; 0 is no ramp. Defaults to 10.
        ramp_start (float): Learning rate of the first epoch, absolute.
            Defaults to 0.01.
        begin (int): Epoch to start at. Defaults to 0.
        end (int): E, counted from ``begin``'s zero; the Runner fills in the
            length of training.
        by_epoch (bool): Count epochs, else iterations. Defaults to True.
        optimizer, last_step, verbose: As in mmengine's schedulers.

    Raises:
        UserError: If ``end`` is not given or ``ramp_epochs`` is negative.
    """

    def __init__(
        self,
        optimizer,
        ramp_epochs: int = 10,
        ramp_start: float = 0.01,
        begin: int = 0,
        end: int | None = None,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        epoch_length: int | None = None,
    ):
        if end is None:
            raise UserError('RampCosineLR needs end, the number of epochs of the schedule')
        if ramp_epochs < 0:
            raise UserError(f'ramp_epochs={ramp_epochs} of RampCosineLR should be from 0 on')
        self.ramp_epochs = ramp_epochs
        self.ramp_start = ramp_start
        self.total = end - begin
        super().__init__(
            optimizer,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    def _get_value(self) -> list[float]:
        """Learning rates of the epoch that starts now."""
        epoch = min(self.last_step + 1, self.total)
        return [self._at(epoch, base) for base in self.base_values]

    def _at(self, epoch: int, base: float) -> float:
        cosine = 0.5 * base * (1 + math.cos(math.pi * epoch / self.total))
        ramp = self.ramp_epochs
        if epoch > ramp:
            return cosine
        return cosine * (epoch - 1) / ramp + self.ramp_start * (ramp + 1 - epoch) / ramp
