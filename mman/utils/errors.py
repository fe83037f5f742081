"""The error that a user can mend without reading a traceback."""

import argparse
import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something the user gave is wrong; the message says what and what would be right."""


class DataError(UserError, RuntimeError):
    """The files of a data set are missing, or not what they should be."""


def few(names: Iterable) -> str:
    """The first four of some names, and how many more there are."""
    names = list(map(str, names))
    return ', '.join(names[:4]) + (f' and {len(names) - 4} more' if len(names) > 4 else '')


def did_you_mean(name: object, known: Iterable[str], before: str = '; ') -> str:
    """What to put behind an error of an unknown name: the known one that is like it, if any."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f'{before}did you mean {close[0]!r}?' if close else ''


@contextmanager
def one_line_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End the program with one line and exit code 2 on a :class:`UserError`, 130 on Ctrl-C.

    Any other exception passes, traceback and all.
    """
    try:
        yield
    except UserError as error:
        parser.exit(2, f'{parser.prog}: error: {_message(error)}\n')
    except KeyboardInterrupt:
        parser.exit(130, f'{parser.prog}: interrupted\n')


def _message(error: UserError) -> str:
    """Its line, which comes last in the traceback that a data loader's worker sends instead."""
    text = str(error)
    if not text.startswith(f'Caught {type(error).__name__} in DataLoader worker'):
        return text
    return text.rstrip().splitlines()[-1].partition(': ')[2]
