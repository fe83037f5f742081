from .errors import DataError, UserError

__all__ = ['DataError', 'UserError']
