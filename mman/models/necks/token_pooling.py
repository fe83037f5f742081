import torch
from mmengine.model import BaseModule

from mman.registry import MODELS
from mman.utils import UserError, integer_from, one_of


@MODELS.register_module()
class TokenPooling(BaseModule):
    """One vector of all tokens, for backbones that return them as they are.

    Serves timm's and torchvision's transformers, which return tokens (N, L, C)
    or, channels last, a map of them (N, H, W, C). No parameters.

    Args:
        how (str): 'class_token', the first token; or 'mean', the mean of all
            tokens after the first ``num_extra_tokens``. A map has no class
            token. Defaults to 'class_token'.
        num_extra_tokens (int): How many tokens before the patches a mean leaves
            out: the class token, others of its kind. Defaults to 0.

    Raises:
        UserError: If an argument is none of these.
    """

    def __init__(self, how: str = 'class_token', num_extra_tokens: int = 0):
        super().__init__()
        one_of('how', how, ('class_token', 'mean'), self)
        integer_from(0, 'num_extra_tokens', num_extra_tokens, self)
        if how == 'class_token' and num_extra_tokens:
            raise UserError(
                f"num_extra_tokens={num_extra_tokens} of TokenPooling is for how='mean': "
                "'class_token' takes the first token alone"
            )
        self.how = how
        self.num_extra_tokens = num_extra_tokens

    def forward(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        """The last of ``inputs``, (N, L, C) or (N, H, W, C), to (N, C), as a tuple.

        Raises:
            UserError: If it is neither, or a map whose class token is wanted.
        """
        x = inputs[-1]
        if x.ndim == 4 and self.how == 'mean' and not self.num_extra_tokens:
            return (x.mean(dim=(1, 2)),)
        if x.ndim != 3:
            raise UserError(
                f'TokenPooling(how={self.how!r}) was given {tuple(x.shape)}: it pools tokens '
                "(N, L, C), and with how='mean' maps with channels last (N, H, W, C)"
            )
        if self.how == 'class_token':
            return (x[:, 0],)
        return (x[:, self.num_extra_tokens :].mean(dim=1),)
