from torch import nn

from mman.utils import UserError, one_of


class LocalWrapper(nn.Module):
    """What wrappers of a LocalImageClassifier have in common: all but training is the model's.

    Args:
        module (nn.Module): A LocalImageClassifier on its device.
        reducer (str): 'ddp' or 'flat', how processes average gradients.
    """

    def __init__(self, module: nn.Module, reducer: str):
        super().__init__()
        if not hasattr(module, 'train_blocks'):
            raise UserError(
                f'{type(self).__name__} wraps a LocalImageClassifier, not '
                f'{type(module).__name__}: drop model_wrapper_cfg to train it as usual'
            )
        one_of('model_wrapper_cfg.reducer', reducer, ('ddp', 'flat'))
        self.module = module
        self.reducer = reducer

    def val_step(self, data: dict | tuple | list) -> list:
        """Predictions of the wrapped model."""
        return self.module.val_step(data)

    def test_step(self, data: dict | tuple | list) -> list:
        """Predictions of the wrapped model."""
        return self.module.test_step(data)

    def forward(self, *args, **kwargs):
        """Forward of the wrapped model, which refuses end-to-end training."""
        return self.module(*args, **kwargs)
