"""What a comparison trains: methods x K, all with the network, data and recipe of one config."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict

from mman.utils.config_names import CONFIGS
from mman.utils.errors import UserError
from mman.validation import class_name

from ..baselines import BASELINES, Baseline
from ..memory_plan import train_batch

BASES = CONFIGS / '_base_' / 'models'
#: Keys of ``model`` that are the network's, whichever method trains it.
NETWORK = ('type', 'backbone', 'splitter', 'input_shape', 'neck', 'head', 'data_preprocessor')
#: Name of the row of backpropagation.
BP = BASELINES[0].name
KEYS = ('methods', 'num_blocks', 'seeds')
SPEC_KEYS = ('name', 'base', 'aux_head', 'recipe')
#: Keys of a config that a method may have its own values of.
RECIPE = ('optim_wrapper', 'param_scheduler')
NEEDED = ('optim_wrapper', 'train_cfg', 'test_cfg', 'test_dataloader', 'test_evaluator')
#: Methods for maps, base files or two with other keys. The head that a MAN hosts is among them.
METHODS = (
    'greedy',
    'dgl',
    dict(name='dgl-manpp', base='dgl', aux_head=dict(variant='manpp')),
    dict(
        name='infopro',
        base='infopro',
        aux_head=dict(
            task_loss='cross_entropy', net='2c2f', reconstruction_weight=5.0, task_weight=0.5
        ),
    ),
    'predsim',
    'feature_reconstruction',
    'auglocal',
    *('man', 'man_dgl', 'man_predsim', 'man_auglocal'),
    *('manpp', 'manpp_dgl', 'manpp_predsim', 'manpp_auglocal'),
)


class Method(NamedTuple):
    """How blocks are trained, without the network."""

    name: str  #: As in the table and in the names of folders.
    model: dict  #: Keys of ``model``: ``aux_head``, and others but the network's.
    hooks: list[dict]  #: ``custom_hooks``.
    recipe: Mapping  #: Dotted keys of :data:`RECIPE` with values of its own.


@dataclass(frozen=True)
class Candidate:
    """A method with a number of blocks; one line of the table."""

    method: str  #: Name of the method.
    num_blocks: int  #: K.
    cfg: Config  #: The config of its runs, without a seed.
    hooks: list[dict]  #: The method's own among ``cfg.custom_hooks``.
    baseline: Baseline | None = None  #: If it is one.

    @property
    def name(self) -> str:
        """Unique in a comparison."""
        return f'{self.method}_k{self.num_blocks}'

    @property
    def parts(self) -> int:
        """Into how many parts a batch is cut."""
        return self.baseline.parts if self.baseline else 1

    @property
    def trained_as(self) -> str | None:
        """Name of the candidate that gives its weights; None if none is trained for it."""
        if self.baseline is None:
            return self.name
        return f'{BP}_k1' if self.baseline.keeps_weights else None

    @property
    def momentum_head(self) -> Mapping | None:
        """The config of its momentum head, if it has one."""
        head = self.cfg.model.get('aux_head') or {}
        return head if class_name(head.get('type')) == 'MomentumAuxHead' else None


def host_of(candidates: Iterable[Candidate], candidate: Candidate) -> str | None:
    """Name of that of the same K whose aux head is the very host of a momentum head, if any."""
    head = candidate.momentum_head
    if head is None:
        return None
    same = (other for other in candidates if other.num_blocks == candidate.num_blocks)
    hosts = (other.name for other in same if other.cfg.model.get('aux_head') == head.host)
    return next(hosts, None)


def make_grid(
    cfg: Config,
    methods: Sequence[str] | None = None,
    num_blocks: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
) -> tuple[list[Candidate], list[int]]:
    """What is compared; the config's ``comparison`` says what the arguments leave open.

    Args:
        cfg (Config): Network, data and recipe; ``comparison``, if it is there,
            is a dict of ``methods``, ``num_blocks`` and ``seeds``.
        methods (Sequence[str] | None): Names or files. Defaults to None, the
            config's, else :data:`METHODS`.
        num_blocks (Sequence[int] | None): K, from 2 on. Defaults to None, the
            config's, else K of its splitter.
        seeds (Sequence[int] | None): Defaults to None, the config's, else 0.

    Returns:
        tuple: Backpropagation and methods by K; and the seeds, of each of them.

    Raises:
        UserError: If a key is unknown, a method does not exist, or K cannot be.
    """
    cfg = copy.deepcopy(cfg)
    section = _section(cfg)
    listed = section.get('methods') or METHODS
    named = {spec.get('name'): spec for spec in (*METHODS, *listed) if isinstance(spec, Mapping)}
    found = [read_method(named.get(m, m) if isinstance(m, str) else m) for m in methods or listed]
    _require_once('methods', [method.name for method in found])
    count = _num_blocks(cfg, num_blocks or section.get('num_blocks'))
    seeds = list(seeds or section.get('seeds') or [0])
    _require_once('seeds', seeds)
    plain = _without_methods(cfg, found)
    rows = [Candidate(one.name, 1, one.config(plain), [], one) for one in BASELINES]
    return [*rows, *(_candidate(plain, method, k) for method in found for k in count)], seeds


def check_comparable(cfg: Config) -> None:
    """Refuse a config that cannot be trained in rows and tested.

    Raises:
        UserError: If a part is missing, the batch is too small, top-1 accuracy
            is not measured, or a memory budget would choose K.
    """
    for key in NEEDED:
        if cfg.get(key) is None:
            raise UserError(f'{key} is {cfg.get(key)!r} in the config; every run needs it')
    train_batch(cfg)
    evaluators = cfg.test_evaluator
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else list(evaluators)
    if not any(_measures_top1(evaluator) for evaluator in evaluators):
        raise UserError(
            f'test_evaluator={evaluators!r} should have an Accuracy with 1 in topk, and no thrs'
        )
    if cfg.get('memory_budget') is not None:
        raise UserError(
            f'memory_budget={cfg.memory_budget!r} would choose K in every row; leave it out'
        )


def read_method(spec: str | Mapping[str, Any]) -> Method:
    """A method of ``configs/_base_/models``, of another file, or one of them with other keys.

    Args:
        spec (str | dict): A name there, the path of a file, or a dict: ``name``, ``base`` (a name
            or path), ``aux_head``, keys to merge into that of the base, and ``recipe``, dotted keys
            such as ``optim_wrapper.optimizer.lr`` with the values of this method alone.

    Raises:
        UserError: If there is no such method.
    """
    if isinstance(spec, str):
        spec = dict(name=Path(spec).stem if spec.endswith('.py') else spec, base=spec)
    unknown = sorted(set(spec) - set(SPEC_KEYS))
    if unknown or not isinstance(spec.get('name'), str) or not isinstance(spec.get('base'), str):
        raise UserError(
            f'comparison.methods has {dict(spec)!r}; a method is a name, a path, or a dict of '
            f'{", ".join(SPEC_KEYS)}, the first two needed'
        )
    name = spec['name']
    if name in [one.name for one in BASELINES]:
        raise UserError(f'comparison.methods has {name!r}, which is a row of every comparison')
    if not re.fullmatch(r'[\w.+-]+', name):
        raise UserError(
            f'comparison.methods has the name {name!r}; letters, digits and ._+- make folders'
        )
    path = Path(spec['base']) if spec['base'].endswith('.py') else BASES / f'{spec["base"]}.py'
    if not path.is_file():
        raise UserError(
            f'method {spec["base"]!r} should be an existing .py file or one of '
            f'{", ".join(sorted(path.stem for path in _method_files()))}'
        )
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(model=dict(aux_head=spec.get('aux_head', {}))))
    model = {key: value for key, value in cfg.model.items() if key not in NETWORK}
    if not model.get('aux_head'):
        raise UserError(f'method {name!r}: {str(path)!r} has no model.aux_head')
    recipe = spec.get('recipe', {})
    if not isinstance(recipe, Mapping) or any(
        not isinstance(key, str) or key.split('.')[0] not in RECIPE for key in recipe
    ):
        raise UserError(
            f'comparison.methods: recipe={recipe!r} of {name!r} should be a dict of dotted keys '
            f'that begin with {" or ".join(RECIPE)}'
        )
    return Method(name, model, list(cfg.get('custom_hooks') or []), dict(recipe))


def _method_files() -> list[Path]:
    return [path for path in BASES.glob('*.py') if 'aux_head' in path.read_text()]


def _section(cfg: Config) -> dict:
    """``comparison``, taken out of the config."""
    section = cfg.pop('comparison', None) or {}
    for key, value in section.items():
        if key not in KEYS:
            raise UserError(f'comparison.{key} is unknown; it has {", ".join(KEYS)}')
        if not isinstance(value, list | tuple) or not value:
            raise UserError(f'comparison.{key}={value!r} should be a list of one or more')
    return section


def _require_once(key: str, values: list) -> None:
    for value in values:
        if values.count(value) > 1:
            raise UserError(f'{key} has {value!r} more than once; each should be there once')


def _num_blocks(cfg: Config, wanted: Sequence[int] | None) -> list[int]:
    """Every K to be compared."""
    splitter = (cfg.get('model') or {}).get('splitter')
    if splitter is None:
        raise UserError(
            'model.splitter is missing: only a LocalImageClassifier is cut into local blocks'
        )
    ends = splitter.get('ends')
    own = len(ends) if ends is not None else splitter.get('num_blocks')
    wanted = list(wanted or [own])
    _require_once('num_blocks', wanted)
    for k in wanted:
        if type(k) is not int or k < 2:
            raise UserError(
                f'num_blocks={k!r} should be an integer from 2 on; backpropagation (K = 1) is '
                'always a row'
            )
        if ends is not None and k != own:
            raise UserError(f'num_blocks={k} contradicts model.splitter.ends, which are {own}')
    return wanted


def _without_methods(cfg: Config, found: Iterable[Method]) -> Config:
    """The config without what any method owns: keys of ``model``, types of hooks."""
    known = [*found, *(read_method(str(path)) for path in _method_files())]
    keys = {key for method in known for key in method.model}
    types = {class_name(hook['type']) for method in known for hook in method.hooks}
    for key in keys:
        cfg.model.pop(key, None)
    cfg.custom_hooks = [
        h for h in cfg.get('custom_hooks') or [] if class_name(h['type']) not in types
    ]
    cfg.resume = False
    return cfg


def _candidate(plain: Config, method: Method, num_blocks: int) -> Candidate:
    cfg = copy.deepcopy(plain)
    cfg.model.update(ConfigDict(copy.deepcopy(method.model)))
    cfg.custom_hooks = [*cfg.custom_hooks, *copy.deepcopy(method.hooks)]
    cfg.merge_from_dict(method.recipe)
    if cfg.model.splitter.get('ends') is None:
        cfg.model.splitter.num_blocks = num_blocks
    return Candidate(method.name, num_blocks, cfg, method.hooks)


def _measures_top1(evaluator: Mapping) -> bool:
    topk = evaluator.get('topk', 1)
    topk = [topk] if isinstance(topk, int) else topk
    return (
        class_name(evaluator.get('type')) == 'Accuracy' and 1 in topk and not evaluator.get('thrs')
    )
