"""Read a pickle of NumPy arrays without running any code stored in it."""

import codecs
import pickle
from typing import Any

import numpy as np

# Taken from NumPy itself, as its private modules change their names.
_CALLABLES = {
    '_reconstruct': np.empty(0).__reduce__()[0],
    '_frombuffer': np.empty(0).__reduce_ex__(5)[0],
    'scalar': np.uint8(0).__reduce__()[0],
    'ndarray': np.ndarray,
    'dtype': np.dtype,
    'encode': codecs.encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split('.')[0] in ('numpy', '_codecs') and name in _CALLABLES:
            return _CALLABLES[name]
        raise pickle.UnpicklingError(f'{module}.{name} is not plain array data')


def load_array_pickle(path: str) -> Any:
    """Load arrays, numbers, strings and containers of them from a pickle.

    Args:
        path (str): The file. Text of Python 2 is decoded as latin1, as in the
            CIFAR batches.

    Returns:
        Any: The object.

    Raises:
        pickle.UnpicklingError: If the file asks for anything else.
        Exception: Of various types, if it is damaged or is no pickle.
    """
    with open(path, 'rb') as file:
        return _ArrayUnpickler(file, encoding='latin1').load()
