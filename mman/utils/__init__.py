from .build import build_strict
from .setup_env import register_all_modules

__all__ = ['build_strict', 'register_all_modules']
