from .build import build_strict
from .errors import DataError, UserError

__all__ = ['DataError', 'UserError', 'build_strict']
