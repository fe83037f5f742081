"""Read a pickle of NumPy arrays without running any code stored in it."""

import math
import pickle
import pickletools
from typing import Any, BinaryIO

import numpy as np

# By the names that NumPy writes, those before its version 2.
_CALLS = {
    ('numpy.core.multiarray', '_reconstruct'): '_reconstruct',
    ('numpy.core.multiarray', 'scalar'): '_scalar',
    ('numpy.core.numeric', '_frombuffer'): '_frombuffer',
    ('numpy', 'ndarray'): '_ndarray',
    ('numpy', 'dtype'): '_dtype',
    ('_codecs', 'encode'): '_encode',
}
_INTEGERS = ('i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8')
# Of a dtype: its version, then (after the byte order) neither subarray, names nor fields.
_STATE = (3, None, None, None, -1, -1, 0)
# Python hashes tuples by recursion in C: some 140,000 in each other as a key overflow its stack.
_MOST_TUPLES = 60_000


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise pickle.UnpicklingError(f'{what} is not plain array data')


class _Dtype:
    """A dtype in the pickle: NumPy sees it only when it is known to be of integers."""

    def __init__(self, code: str):
        self.code, self.value = code, None

    def __setstate__(self, state: Any) -> None:
        _require(
            isinstance(state, tuple)
            and (*state[:1], *state[2:]) == _STATE
            and state[1] in ('|', '<', '>'),
            'the state of a dtype',
        )
        self.value = np.dtype(state[1] + self.code)


class _Array:
    """An array in the pickle: NumPy sees its bytes when they are as many as its shape says."""

    value = None

    def __setstate__(self, state: Any) -> None:
        _require(
            isinstance(state, tuple) and len(state) == 5 and state[0] == 1, 'the state of an array'
        )
        _, shape, dtype, fortran, data = state
        self.fill(shape, dtype, data, 'F' if fortran else 'C')

    def fill(self, shape: Any, dtype: Any, data: Any, order: Any = 'C') -> '_Array':
        """Set the value, if all of it is as it should be."""
        # Python 2 had one type for bytes and text.
        data = data.encode('latin1') if isinstance(data, str) else data
        _require(isinstance(dtype, _Dtype) and dtype.value is not None, 'an array of another dtype')
        _require(
            isinstance(shape, tuple)
            and len(shape) <= 4
            and all(type(n) is int and n >= 0 for n in shape)
            and isinstance(data, bytes | bytearray)
            and math.prod(shape) * dtype.value.itemsize == len(data)
            and order in ('C', 'F'),
            'an array whose bytes are not those of its shape',
        )
        self.value = np.ndarray(shape, dtype.value, data, order=order)
        return self


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the calls that arrays are pickled as, and does each by a function of its own."""

    def find_class(self, module: str, name: str) -> Any:
        call = _CALLS.get((module.replace('numpy._core.', 'numpy.core.'), name))
        _require(call is not None, f'{module}.{name}')
        # A bound method, as a pickle could set attributes of a function or a class.
        return getattr(self, call)

    def _ndarray(self, *_: Any) -> None:
        """The class, which the files name and do not call."""
        _require(False, 'a call of ndarray')

    def _reconstruct(self, *arguments: Any) -> _Array:
        known = [(self._ndarray, (0,), kind) for kind in ('b', b'b')]
        _require(arguments in known, 'another call of _reconstruct')
        return _Array()

    def _frombuffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        return _Array().fill(shape, dtype, data, order)

    def _scalar(self, dtype: Any, data: Any) -> int:
        return _Array().fill((), dtype, data).value.item()

    def _dtype(self, code: Any, *flags: Any) -> _Dtype:
        _require(code in _INTEGERS and flags == (False, True), 'a dtype other than of integers')
        return _Dtype(code)

    def _encode(self, text: Any, encoding: Any) -> bytes:
        _require(isinstance(text, str) and encoding == 'latin1', 'another call of encode')
        return text.encode('latin1')


def _check_opcodes(file: BinaryIO) -> None:
    """Refuse what crashes Python's own reader or fills the memory, before it is used."""
    tuples = 0
    for opcode, argument, place in pickletools.genops(file):
        if 'PUT' in opcode.name:
            # The reader makes room for as many objects as the number says.
            _require(argument <= place, 'an object of so high a number')
        elif 'TUPLE' in opcode.name:
            tuples += 1
            _require(tuples <= _MOST_TUPLES, 'a pickle of so many tuples')


def load_array_pickle(path: str) -> dict:
    """Load a dict of integer arrays, numbers, strings and lists of them from a pickle.

    The CIFAR batches are such dicts. NumPy's own functions crash the
    interpreter if a pickle calls them with wrong arguments, so none is called.

    Text of Python 2 is decoded as latin1. The arrays cannot be written to.

    Raises:
        pickle.UnpicklingError: If the file asks for anything else.
        Exception: Of various types, if it is damaged or is no pickle.
    """
    with open(path, 'rb') as file:
        _check_opcodes(file)
        file.seek(0)
        batch = _ArrayUnpickler(file, encoding='latin1').load()
    _require(type(batch) is dict, f'a {type(batch).__name__} at the top')
    return {key: v.value if isinstance(v, _Array) else v for key, v in batch.items()}
