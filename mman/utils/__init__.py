from .arguments import dict_at, integer_from, one_of, should_be, true_or_false
from .errors import DataError, UserError

__all__ = [
    'DataError',
    'UserError',
    'dict_at',
    'integer_from',
    'one_of',
    'should_be',
    'true_or_false',
]
