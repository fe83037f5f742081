"""Starting to train from the weights of a plain network."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mman.utils.checkpoint import latest_checkpoint
from mman.utils.errors import UserError
from mman.utils.plain_weights import read_weights
from mman.utils.unwrap import unwrap

from .from_library import SOURCES, head_as_ours, named_as_ours

_KEYS = ('checkpoint', 'source', 'drop_head', 'entry', 'sha256')


def start_from_pretrained(runner: Runner) -> None:
    """Do what the config's ``pretrained`` asks, if it has it: begin with a plain network's weights.

    The key is a dict: ``checkpoint``, a local file of torch.save or
    safetensors; ``source``, 'mmpretrain', 'timm' or 'torchvision', whose names
    the weights have, by default 'mmpretrain'; ``drop_head``, whether the
    file's classifier is left out, by default False, but it is too where its
    number of classes differs; ``entry`` and ``sha256`` as in
    :func:`mman.utils.plain_weights.read_weights`.

    Everything but the classifier must be in the file, and nothing else. Aux
    heads start as they are configured; momentum and bias units that start
    from their source find the loaded weights in it. A resumed run loads
    nothing and needs no file.

    Raises:
        UserError: If a key is wrong, or the file does not fit the model.
    """
    cfg = runner.cfg.get('pretrained')
    if cfg is None or _resumes(runner):
        return
    _check_keys(cfg)
    if runner._load_from is not None:
        raise UserError(
            f'pretrained and load_from={runner._load_from!r} are both set: which weights to start '
            'from should be one of them'
        )
    start = PlainStart(unwrap(runner.model), **cfg)
    # Now, so that what is wrong shows before data sets are read; training initialises weights.
    start.load()
    runner.register_hook(PretrainedHook(start), priority='VERY_HIGH')


def check_initialisation(cfg: Config) -> None:
    """Refuse mmengine's own way to load weights into a model cut into blocks.

    It skips what does not fit.

    Raises:
        UserError: If ``model.pretrained`` is set, or an ``init_cfg`` is of the
            type 'Pretrained'; names the key.
    """
    model = cfg.get('model') or {}
    if model.get('splitter') is None:
        return
    found = [key for key, value in _nodes(model, 'model') if _loads(value)]
    if model.get('pretrained') is not None:
        found.append('model.pretrained')
    if found:
        raise UserError(
            f'{found[0]} would skip in silence what does not fit: leave it out and set '
            "pretrained=dict(checkpoint=..., source='mmpretrain') beside model"
        )


class PretrainedHook(Hook):
    """Load weights after the model was initialised and before anything copies them.

    Args:
        start (PlainStart): What is loaded, and where.
    """

    def __init__(self, start: 'PlainStart'):
        self._start = start

    def before_train(self, runner: Runner) -> None:
        """Load, say so, and let go of the weights in the file."""
        self._start.load()
        for line in self._start.report():
            runner.logger.info(line)
        self._start = None


class PlainStart:
    """Weights of a file by their names in a model, and what is left out of it."""

    def __init__(
        self,
        model: nn.Module,
        checkpoint: str,
        source: str = 'mmpretrain',
        drop_head: bool = False,
        **how: Any,
    ):
        self.model = model
        self.where = f'pretrained.checkpoint={checkpoint!r} (source={source!r})'
        self.plain = named_as_ours(read_weights(checkpoint, **how), source, model)
        self.drop_head = drop_head or self._other_classes()
        if not self.drop_head and not self.plain.head:
            raise UserError(f'{self.where} holds no classifier: set pretrained.drop_head=True')
        head = {} if self.drop_head else head_as_ours(self.plain.head, source, model)
        self.weights = {**self.plain.body, **head}

    def load(self) -> None:
        """Load into the model.

        Raises:
            UserError: If anything is lacking, unknown or of another shape.
        """
        try:
            lacking, unknown = self.model.load_state_dict(self.weights, strict=False)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()]
            sizes = [line for line in lines if line.startswith('size mismatch')]
            raise UserError(
                f'{self.where} does not fit the model: {(sizes or lines)[0]}'
            ) from error
        allowed = ('aux_heads.', 'head.') if self.drop_head else ('aux_heads.',)
        lacking = [name for name in lacking if not name.startswith(allowed)]
        problems = [
            f'{what} {_short(names)}'
            for what, names in (('lacks', lacking), ('has unknown', unknown))
            if names
        ]
        if problems:
            raise UserError(
                f'{self.where} does not fit the model: it {" and ".join(problems)}; give the '
                'backbone and the source that it was made with'
            )

    def report(self) -> Iterator[str]:
        """Lines for the log."""
        yield f'{self.where}: {len(self.weights)} entries loaded'
        if self.drop_head and self.plain.head:
            *_, last = self.plain.head.values()
            yield (
                f'{self.where}: its classifier of {len(last)} classes is left out, the one of the '
                f'model has {_num_classes(self.model)} and starts anew: {_short(self.plain.head)}'
            )
        for note in self.plain.notes:
            yield f'{self.where}: {note}'

    def _other_classes(self) -> bool:
        """Whether the file's classifier has another number of classes than the model's."""
        if not self.plain.head:
            return False
        # The last layer's weight or bias, one row or value a class.
        *_, last = self.plain.head.values()
        return len(last) != _num_classes(self.model)


def _check_keys(cfg: Any) -> None:
    """Refuse anything but the keys there are, with values of their types."""
    if not isinstance(cfg, Mapping) or 'checkpoint' not in cfg or not set(cfg) <= set(_KEYS):
        raise UserError(
            f'pretrained={cfg!r} should be a dict with checkpoint, and of {", ".join(_KEYS[1:])} '
            'what is needed'
        )
    if cfg.get('source', SOURCES[0]) not in SOURCES:
        raise UserError(
            f'pretrained.source={cfg["source"]!r} should be one of {", ".join(SOURCES)}'
        )
    if not isinstance(cfg.get('drop_head', False), bool):
        raise UserError(f'pretrained.drop_head={cfg["drop_head"]!r} should be True or False')
    for key in ('checkpoint', 'entry', 'sha256'):
        if not isinstance(cfg.get(key, ''), str):
            raise UserError(f'pretrained.{key}={cfg[key]!r} should be a string')


def _resumes(runner: Runner) -> bool:
    """Whether the Runner will go on from a checkpoint of its own."""
    if not runner._resume:
        return False
    return runner._load_from is not None or latest_checkpoint(runner.work_dir) is not None


def _num_classes(model: nn.Module) -> int:
    return getattr(model, 'num_classes', None) or model.head.num_classes


def _nodes(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value in a tree of dicts and lists, with its path."""
    yield path, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nodes(inner, f'{path}.{key}')
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _nodes(inner, f'{path}[{number}]')


def _loads(value: Any) -> bool:
    """Whether it is the config of mmengine's PretrainedInit."""
    kind = value.get('type') if isinstance(value, Mapping) else None
    return getattr(kind, '__name__', str(kind).split('.')[-1]) in ('Pretrained', 'PretrainedInit')


def _short(names: Iterable[str]) -> str:
    """The first few names and how many more there are."""
    names = list(names)
    return ', '.join(names[:4]) + (f' and {len(names) - 4} more' if len(names) > 4 else '')
