"""Building from a config with unknown keys refused by name."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

from .errors import UserError


def accepted_keys(cls: type) -> set[str]:
    """Names that the constructor of ``cls`` takes.

    A constructor that passes ``**kwargs`` on is followed along the method
    resolution order to the first one that does not.
    """
    keys: set[str] = set()
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        keys.update(
            p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        )
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return keys - {'self'}


def required_keys(cls: type) -> set[str]:
    """Names that the constructor of ``cls`` itself takes and gives no default."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    keyed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in parameters if p.kind in keyed and p.default is p.empty} - {'self'}


def build_strict(
    registry: Registry, cfg: Mapping, where: str, base: type = object, **context: Any
) -> Any:
    """Build ``cfg`` and name a key that its class does not know.

    Args:
        registry (Registry): Where ``cfg['type']`` is looked up.
        cfg (dict): ``type`` and the keys a user chose.
        where (str): Path of ``cfg`` in the config, for messages.
        base (type): What the class must derive from. Defaults to anything.
        **context: Arguments that the caller adds; a user cannot set them.

    Raises:
        UserError: If ``cfg`` has no ``type`` or a wrong one, lacks a key that is needed, or
            has one that is unknown or in ``context``; the message says which
            keys are known.
    """
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise UserError(f"{where} should be a dict with the key 'type', but is {cfg!r}")
    with registry.switch_scope_and_registry(cfg.get('_scope_')) as scoped:
        cls = cfg['type'] if not isinstance(cfg['type'], str) else scoped.get(cfg['type'])
    if cls is None:
        raise UserError(
            f'{where}.type={cfg["type"]!r} is not registered in mman, mmpretrain or mmengine; '
            'import your own module by custom_imports'
        )
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f'{where}.type={cfg["type"]!r} is not a kind of {base.__name__}')
    known = sorted(accepted_keys(cls) - set(context))
    for key, value in cfg.items():
        if key in ('type', '_scope_') or key in known:
            continue
        close = difflib.get_close_matches(key, known, n=1)
        hint = f'; did you mean {close[0]!r}?' if close else ''
        raise UserError(
            f'{where} has the unknown key {key!r} (value {value!r}): '
            f'{cls.__name__} knows {", ".join(known) or "no keys"}{hint}'
        )
    missing = sorted(required_keys(cls) - set(cfg) - set(context))
    if missing:
        raise UserError(f'{where} lacks {", ".join(missing)}, which {cls.__name__} needs')
    return registry.build({**cfg, **context})
