"""Building from a config with unknown keys refused by name."""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

from .errors import UserError
from .signature import check_keys


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
        UserError: If the type is wrong, or a key is missing, unknown or in ``context``.
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
    check_keys(cfg, where, cls, given=context)
    return registry.build({**cfg, **context})
