"""Dicts of a config that a registry builds, read against what their classes take."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import MODELS, Registry
from mmengine.utils import get_object_from_string

from mman.utils import should_be
from mman.utils.build_errors import reason
from mman.utils.errors import UserError, did_you_mean
from mman.utils.signature import TYPE_KEYS, check_keys, signature_of

from .values import check_kinds

_ROOTS = [r for r in vars(mmengine_registry).values() if isinstance(r, Registry)]
# Keys whose dicts are built as they are. Whoever builds those under others may take keys out.
_PLAIN = (
    'backbone', 'neck', 'head', 'aux_head', 'host', 'splitter', 'augments', 'data_preprocessor',
    'dataset', 'datasets', 'pipeline', 'transforms', 'vis_backends', 'metrics',
)  # fmt: skip
# What whoever builds a dict may add, of what classes need.
_GIVEN = (
    'batch', 'batch_size', 'context', 'data_batch', 'dataloader', 'dataset', 'device_ids',
    'evaluator', 'model', 'module', 'optim_wrapper_cfg', 'optimizer', 'params', 'rank', 'runner',
    'sampler', 'save_dir', 'seed', 'num_workers', 'worker_id',
)  # fmt: skip
_UNREAD = ('batch_augments', 'train_cfg', 'tokenizer')


class Components:
    """Checks of dicts with a type at their place in a config of a ``default_scope``."""

    def __init__(self, scope: str | None):
        self.scope = scope or 'mmengine'
        self.registered = _registered(self.scope)

    def check(
        self,
        value: Any,
        where: str,
        taken: tuple[str, ...] = (),
        default: str | None = None,
        plain: bool = True,
    ) -> Callable | None:
        """Check a dict, and all that are inside it; a built object passes.

        Args:
            value (Any): The dict.
            where (str): Its path in the config.
            taken (tuple[str, ...]): Keys that whoever builds it takes out.
            default (str | None): The type where there is none.
            plain (bool): Whether all other keys are its class's.

        Returns:
            Callable | None: Its class or function, where that is sure.
        """
        if not isinstance(value, Mapping):
            if value is None or isinstance(value, (str, int, float, list, tuple)):
                raise should_be(where, value, 'a dict with the key type')
            return None
        targets = self._targets(value, where, default, plain)
        # One name may stand for several kinds of things.
        target = targets[0] if len(targets) == 1 else None
        if target is not None:
            if plain:
                given = [key for key in _GIVEN if key not in value]
                check_keys(value, where, target, given, (*taken, *TYPE_KEYS))
            check_kinds(value, where, target, taken)
        self._inside({k: v for k, v in value.items() if k not in taken}, where)
        return target

    def _inside(self, value: Mapping, where: str) -> None:
        """Check the dicts right inside a dict or in its lists."""
        for key, item in value.items():
            for path, inner in _dicts(item, f'{where}.{key}') if key not in _UNREAD else ():
                if key in _PLAIN or 'type' in inner:
                    default = 'ClsDataPreprocessor' if key == 'data_preprocessor' else None
                    self.check(inner, path, default=default, plain=key in _PLAIN)
                else:
                    self._inside(inner, path)

    def _targets(
        self, value: Mapping, where: str, default: str | None, plain: bool
    ) -> list[Callable]:
        """The classes or functions of its type; none where only building tells."""
        kind, place = value.get('type', default), f'{where}.type'
        if callable(kind):
            return [kind]
        if not isinstance(kind, str):
            if not plain:
                return []
            if kind is None:
                raise UserError(f'{where} lacks the key type, the name of a registered class')
            raise should_be(place, kind, 'the name of a registered class')
        scope, _, name = kind.rpartition('.')
        scope = scope or value.get('_scope_') or self.scope
        if scope != 'mmengine' and MODELS._search_child(scope) is None:
            return [_imported(kind, place)] if plain else []
        names = self.registered if scope == self.scope else _registered(scope)
        if name not in names and plain:
            raise UserError(
                f'{place}={kind!r} is not registered in mman, mmpretrain or mmengine, looked '
                f'up from default_scope={self.scope!r}: import your own module by custom_imports'
                f'{did_you_mean(name, names)}'
            )
        return names.get(name, [])


def takes(value: Mapping, key: str, scope: str | None) -> bool:
    """Whether the class of a dict is sure to take a key."""
    if 'type' not in value:
        return False
    targets = Components(scope)._targets(value, '', None, plain=False)
    return any(key in signature_of(target).parameters for target in targets)


def _imported(kind: str, where: str) -> Callable:
    """What a dotted name names, which others' modules may fail at in any way."""
    try:
        found = get_object_from_string(kind)
    except Exception as error:
        raise UserError(f'{where}={kind!r} cannot be imported: {reason(error)}') from error
    if not callable(found):
        raise UserError(f'{where}={kind!r} is not registered, nor can it be imported')
    return found


def _registered(scope: str) -> Mapping[str, list[Callable]]:
    """What is found from a scope under every name, in all registries."""
    found = defaultdict(list)
    for root in _ROOTS:
        registry, names = root._search_child(scope), {}
        # A package may lack one of the registries.
        registry = root if registry is None else registry
        while registry is not None:
            registry.import_from_location()
            names = {**registry.module_dict, **names}
            registry = registry.parent
        for name, target in names.items():
            if target not in found[name]:
                found[name].append(target)
    return dict(found)


def _dicts(item: Any, path: str) -> Iterator[tuple[str, Mapping]]:
    """The dict itself, or those in a list of it."""
    if isinstance(item, Mapping):
        yield path, item
    elif isinstance(item, (list, tuple)):
        for number, one in enumerate(item):
            yield from _dicts(one, f'{path}[{number}]')
