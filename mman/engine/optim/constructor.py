import copy
import inspect
from collections.abc import Mapping

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mman.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from mman.utils import UserError
from mman.utils.unwrap import unwrap

from .block_optim_wrapper_dict import BlockOptimWrapperDict


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BlockOptimWrapperConstructor:
    """Build one optimizer wrapper per local block that trains, from one config.

    Optimizers that have ``fused`` are built with it, unless the config sets
    ``fused`` or ``foreach``.

    Args:
        optim_wrapper_cfg (dict): Config of an OptimWrapper with its
            ``optimizer``. The key ``blocks`` overrides parts of it for some
            blocks, by index: ``blocks={0: dict(optimizer=dict(lr=0.01))}``;
            ``None`` removes a key (``clip_grad=None``).
        paramwise_cfg (dict | None): As in mmengine, with parameter names as in
            the classifier. Defaults to None.

    Raises:
        UserError: If ``blocks`` names a block that there is not, a block has
            nothing to train, or blocks do not partition the trainable
            parameters.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        self.cfg = copy.deepcopy(dict(optim_wrapper_cfg))
        self.cfg.setdefault('type', 'BlockOptimWrapper')
        self.paramwise_cfg = paramwise_cfg
        overrides = self.cfg.pop('blocks', None) or {}
        self.overrides = {int(index): override for index, override in overrides.items()}

    def __call__(self, model: nn.Module) -> BlockOptimWrapperDict:
        """Build the wrappers of a LocalImageClassifier, wrapped or not."""
        model = unwrap(model)
        if not hasattr(model, 'local_blocks'):
            raise UserError(
                f'BlockOptimWrapperConstructor needs a LocalImageClassifier, not '
                f'{type(model).__name__}'
            )
        count = model.num_blocks
        for index in self.overrides:
            if not 0 <= index < count:
                raise UserError(
                    f'optim_wrapper.blocks has the key {index}, but blocks are 0 to {count - 1}'
                )
            if index not in model.trained_blocks:
                raise UserError(
                    f'optim_wrapper.blocks has the key {index}, but that block rests: '
                    f'model.train_blocks is {list(model.trained_blocks)}'
                )
        blocks = tuple(model.local_blocks[k] for k in model.trained_blocks)
        _check_partition(model, blocks)
        return BlockOptimWrapperDict(**{block.name: self._build(block) for block in blocks})

    def _build(self, block: nn.Module) -> OptimWrapper:
        """The wrapper of one block, over its trainable parameters only."""
        # mmengine pops keys out of the configs that it is given.
        cfg = _merged(copy.deepcopy(self.cfg), self.overrides.get(block.index, {}))
        cfg['optimizer'] = _fused_by_default(cfg['optimizer'])
        wrapper = DefaultOptimWrapperConstructor(cfg, copy.deepcopy(self.paramwise_cfg))(block)
        for group in wrapper.optimizer.param_groups:
            group['params'] = [p for p in group['params'] if p.requires_grad]
        return wrapper


def _merged(cfg: dict, override: Mapping) -> dict:
    """``cfg`` with the keys of ``override``, dict by dict."""
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(cfg.get(key), Mapping):
            cfg[key] = _merged(cfg[key], value)
        else:
            cfg[key] = copy.deepcopy(value)
    return cfg


def _fused_by_default(optimizer: Mapping) -> dict:
    """The optimizer's config, with one kernel a step if that can be and is not set."""
    kind = optimizer.get('type')
    cls = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    known = inspect.signature(cls.__init__).parameters if cls is not None else {}
    if 'fused' in known and not {'fused', 'foreach'} & set(optimizer):
        return dict(optimizer, fused=True)
    return dict(optimizer)


def _check_partition(model: nn.Module, blocks: tuple[nn.Module, ...]) -> None:
    """Every trainable parameter is in exactly one block."""
    owner: dict[int, str] = {}
    for block in blocks:
        trainable = [(name, p) for name, p in block.named_parameters() if p.requires_grad]
        if not trainable:
            raise UserError(f'{block.name} has no trainable parameter: unfreeze it or join it')
        for name, p in trainable:
            if id(p) in owner:
                raise UserError(f'parameter {name} is in {owner[id(p)]} and in {block.name}')
            owner[id(p)] = block.name
    left = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in owner]
    if left:
        raise UserError(f'no block trains {", ".join(left)}')
