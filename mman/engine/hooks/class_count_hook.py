from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.registry import HOOKS
from mman.utils import UserError
from mman.utils.unwrap import unwrap


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Refuse to train or test a model on a data set with another number of classes.

    Data sets that do not say what their classes are, are let through.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the training and the validation set with the model."""
        self._check(runner, 'train', runner.train_loop)
        if runner.val_loop is not None:
            self._check(runner, 'val', runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Compare the test set with the model."""
        self._check(runner, 'test', runner.test_loop)

    def _check(self, runner: Runner, split: str, loop: Any) -> None:
        model = unwrap(runner.model)
        outputs = getattr(getattr(model, 'head', None), 'num_classes', None)
        loader = getattr(loop, 'dataloader', None)
        classes = getattr(getattr(loader, 'dataset', None), 'metainfo', {}).get('classes')
        if outputs is None or classes is None:
            return
        if len(classes) != outputs:
            raise UserError(
                f'model.head.num_classes={outputs} should be {len(classes)}, the number of '
                f'classes of {split}_dataloader.dataset'
            )
