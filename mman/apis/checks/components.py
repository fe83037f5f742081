"""Reading a whole config against what its classes take, before anything is built."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any

from mmengine import registry as roots
from mmengine.registry import DefaultScope, Registry

from mman.utils.build_errors import reason
from mman.utils.errors import UserError
from mman.utils.signature import signature_of
from mman.utils.value_type import type_problem

# A dict with a type under one of these keys is looked up there; others where the one around is.
_REGISTRIES = {
    'dataset': roots.DATASETS,
    'datasets': roots.DATASETS,
    'pipeline': roots.TRANSFORMS,
    'transforms': roots.TRANSFORMS,
    'init_cfg': roots.WEIGHT_INITIALIZERS,
    'override': roots.WEIGHT_INITIALIZERS,
    'splitter': roots.TASK_UTILS,
    'vis_backends': roots.VISBACKENDS,
    'metrics': roots.METRICS,
    'batch_augments': None,
    'train_cfg': None,
    'tokenizer': None,
}
# What the class around such a key gives beside the keys of the config; elsewhere nobody knows.
_GIVEN = {
    'backbone': (),
    'neck': (),
    'head': (),
    'aux_head': ('context',),
    'host': ('context',),
    'splitter': (),
    'data_preprocessor': (),
    'augments': (),
    'dataset': (),
    'pipeline': (),
    'transforms': (),
    'vis_backends': ('save_dir',),
    'metrics': (),
}
# Read by whoever builds such a dict, not by its class.
_EXTRA = {
    'policies': ('magnitude_key', 'magnitude_range'),
}
# Whose annotations mean what they say.
_EXACT = ('mman.', 'torch.', 'mmengine.')
_DEFAULT_TYPES = {'data_preprocessor': 'ClsDataPreprocessor'}


class ConfigCheck:
    """Checks of dicts that a registry builds, at their place in a config.

    Args:
        scope (str | None): ``default_scope`` of the config.
    """

    def __init__(self, scope: str | None):
        self.scope = scope or 'mmengine'

    def component(
        self,
        value: Any,
        where: str,
        registry: Registry,
        given: tuple[str, ...] | None = (),
        extra: tuple[str, ...] = (),
        default: str | None = None,
        scoped: bool = True,
    ) -> None:
        """Check a dict with a type, and all that are inside it.

        Args:
            value (Any): The dict; a built object passes.
            where (str): Its path in the config.
            registry (Registry): The root registry that it is built by.
            given (tuple[str, ...] | None): Keys that the caller adds where they lack. None if
                nobody knows who builds it and how: only values are checked.
            extra (tuple[str, ...]): Keys that the caller takes out.
            default (str | None): The type where there is none.
            scoped (bool): Whether the default scope is searched.

        Raises:
            UserError: If it is no dict, its type is not registered, a key is
                unknown or missing, or a value of another type than its class says.
        """
        if not isinstance(value, Mapping):
            if value is None or isinstance(value, (str, int, float, list, tuple)):
                raise UserError(f'{where}={value!r} should be a dict with the key type')
            return
        target = self.target(value, where, registry, default, scoped, sure=given is not None)
        if target is not None:
            check_keys(value, where, target, given, (*extra, 'type', '_scope_'))
        for key, path, inner in _inner(value, where):
            if key not in extra:
                self._nested(inner, key, path, registry)

    def _nested(self, value: Mapping, key: str, path: str, registry: Registry) -> None:
        """Check a dict inside a component."""
        registry = _REGISTRIES.get(key, registry)
        if registry is None:
            return
        default = _DEFAULT_TYPES.get(key)
        if 'type' not in value and default is None and key not in _GIVEN:
            for inner_key, inner_path, inner in _inner(value, path):
                self._nested(inner, inner_key, inner_path, registry)
            return
        self.component(
            value,
            path,
            registry,
            given=_GIVEN.get(key),
            extra=_EXTRA.get(key, ()),
            default=default,
        )

    def target(
        self,
        value: Mapping,
        where: str,
        registry: Registry,
        default: str | None = None,
        scoped: bool = True,
        sure: bool = True,
    ) -> Callable | None:
        """The class or function of a dict; None if it may be something else."""
        kind = value.get('type', default)
        if not sure and not isinstance(kind, str):
            return None
        if kind is None:
            raise UserError(f'{where} lacks the key type, the name of a registered class')
        if callable(kind):
            return kind
        if not isinstance(kind, str):
            raise UserError(f'{where}.type={kind!r} should be the name of a registered class')
        try:
            found, names = self._find(kind, registry, value.get('_scope_'), scoped)
        except Exception as error:
            # A dotted name is imported, and others' modules may fail in any way.
            raise UserError(f'{where}.type={kind!r} cannot be imported: {reason(error)}') from error
        if found is None and sure:
            close = difflib.get_close_matches(kind, names, n=1)
            hint = f'did you mean {close[0]!r}? ' if close else ''
            raise UserError(
                f'{where}.type={kind!r} is not registered as a {registry.name} in mman, '
                f'mmpretrain or mmengine, looked up from default_scope={self.scope!r}: {hint}'
                'import your own module by custom_imports'
            )
        return found if callable(found) else None

    def _find(
        self, kind: str, registry: Registry, scope: str | None, scoped: bool
    ) -> tuple[Any, list[str]]:
        if not scoped:
            return registry.get(kind), list(registry.module_dict)
        with (
            DefaultScope.overwrite_default_scope(self.scope),
            registry.switch_scope_and_registry(scope) as local,
        ):
            found, names = local.get(kind), []
            while local is not None:
                names += local.module_dict
                local = local.parent
            return found, names


def check_keys(
    value: Mapping,
    where: str,
    target: Callable,
    given: tuple[str, ...] | None = (),
    extra: tuple[str, ...] = (),
) -> None:
    """Bind the keys of a dict to what a class or function takes.

    Args:
        value (Mapping): The dict.
        where (str): Its path in the config.
        target (Callable): The class or function.
        given (tuple[str, ...] | None): As in :meth:`ConfigCheck.component`.
        extra (tuple[str, ...]): Further keys that are right.

    Raises:
        UserError: As :meth:`ConfigCheck.component`.
    """
    signature = signature_of(target)
    name = getattr(target, '__name__', str(target))
    exact = getattr(target, '__module__', '').startswith(_EXACT)
    parameters = signature.parameters
    for key, item in value.items():
        if key in extra:
            continue
        if key in parameters:
            wanted = type_problem(item, parameters[key], name, exact)
            if wanted is not None:
                raise UserError(f'{where}.{key}={item!r} of {name} should be {wanted}')
        elif not signature.open and given is not None:
            raise unknown_key(
                value, where, key, name, [*(k for k in parameters if k not in given), *extra]
            )
        check_finite(item, f'{where}.{key}')
    if given is not None:
        missing = sorted(signature.required - set(value) - set(given))
        if missing:
            raise UserError(f'{where} lacks {", ".join(missing)}, which {name} needs')


def check_finite(value: Any, where: str) -> None:
    """Refuse numbers that are none, and infinite ones but for limits of gradient norms.

    What keeps a root from zero (``eps``) is from 0 on, whoever takes it.
    """
    if where.endswith('.eps') and isinstance(value, Real) and value < 0:
        raise UserError(f'{where}={value!r} should be a number from 0 on')
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_finite(item, f'{where}.{key}')
    items = value if isinstance(value, (list, tuple)) else (value,)
    for item in items:
        if isinstance(item, float) and not math.isfinite(item):
            if math.isnan(item) or not where.endswith(('max_norm', 'clip_value', 'norm_type')):
                raise UserError(f'{where}={value!r} should be a finite number')


def unknown_key(value: Mapping, where: str, key: Any, owner: str, known: list[str]) -> UserError:
    """The error of a key that its class does not take."""
    shown = [name for name in dict.fromkeys(known) if name not in ('type', '_scope_')]
    close = difflib.get_close_matches(str(key), known, n=1)
    hint = f'; did you mean {close[0]!r}?' if close else ''
    return UserError(
        f'{where} has the unknown key {key!r} (value {value[key]!r}): {owner} knows '
        f'{", ".join(shown) or "no keys"}{hint}'
    )


def _inner(value: Mapping, where: str) -> Iterator[tuple[str, str, Mapping]]:
    """Dicts right inside a dict or in its lists: key, path and dict."""
    for key, item in value.items():
        yield from _dicts(str(key), f'{where}.{key}', item)


def _dicts(key: str, path: str, item: Any) -> Iterator[tuple[str, str, Mapping]]:
    if isinstance(item, Mapping):
        yield key, path, item
    elif isinstance(item, (list, tuple)):
        for number, one in enumerate(item):
            yield from _dicts(key, f'{path}[{number}]', one)
