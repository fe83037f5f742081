from .build import build_strict
from .errors import DataError, UserError
from .setup_env import register_all_modules

__all__ = ['DataError', 'UserError', 'build_strict', 'register_all_modules']
