"""Checkpoints run no code when loaded, and the latest one is found."""

import builtins
import io
import os
import zipfile
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from mman.utils.checkpoint import latest_checkpoint
from mman.utils.errors import UserError
from mman.utils.safe_loading import restrict_loading

pytestmark = pytest.mark.usefixtures('loading_state')


class CreatesFile:
    """Pickles into a call that creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return builtins.open, (self.path, 'w')


def save_call(path, trace):
    """A plain call, among real weights."""
    weights = torch.nn.Linear(2, 2).state_dict()
    torch.save({'state_dict': weights, 'meta': CreatesFile(trace)}, path)


def save_getattr_chain(path, trace):
    """``exec``, reached by getattr alone and called as the __setstate__ of an allowed class."""

    def text(value):
        return b'X' + len(value).to_bytes(4, 'little') + value.encode()

    def attribute(owner, name):
        return lookup + owner + text(name) + b'\x86R'

    lookup = b'c__builtin__\ngetattr\n'
    history = b'cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81'
    execute = attribute(attribute(lookup, '__self__'), 'exec')
    payload = history + b'}' + text('__setstate__') + execute + b'sb'
    payload += text(f"open({str(trace)!r}, 'w')") + b'b'
    weights = b'}' + text('state_dict') + b'}s' + text('meta') + payload + b's'
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            is_pickle = name.endswith('data.pkl')
            target.writestr(name, b'\x80\x02' + weights + b'.' if is_pickle else source.read(name))


@pytest.fixture(params=[save_call, save_getattr_chain])
def malicious(request, tmp_path):
    """A checkpoint with a payload, and the file that the payload creates."""
    trace = tmp_path / 'trace'
    path = tmp_path / 'model.pth'
    request.param(path, trace)
    assert not trace.exists()
    return path, trace


def test_payload_is_real_and_mmengine_runs_it(malicious):
    path, trace = malicious
    load_checkpoint(torch.nn.Linear(2, 2), str(path))
    assert trace.exists()


def test_payload_is_refused_by_name(malicious):
    path, trace = malicious
    restrict_loading()
    with pytest.raises(UserError) as error:
        load_checkpoint(torch.nn.Linear(2, 2), str(path))
    assert str(path) in str(error.value)
    assert 'load it with --unsafe-load (in Python: unsafe_load=True)' in str(error.value)
    assert '\n' not in str(error.value)
    assert not trace.exists()


def test_loaders_of_other_places_are_as_strict(malicious):
    # They keep mmengine's own function.
    path, trace = malicious
    original = CheckpointLoader._schemes['']
    restrict_loading()
    with pytest.raises(UnpicklingError):
        original(str(path), None)
    assert not trace.exists()


def test_unsafe_is_explicit_and_lasts_until_the_opposite(malicious):
    path, trace = malicious
    restrict_loading()
    restrict_loading(unsafe=True)
    restrict_loading()
    load_checkpoint(torch.nn.Linear(2, 2), str(path))
    assert trace.exists()
    trace.unlink()
    restrict_loading(unsafe=False)
    with pytest.raises(UserError, match='was refused'):
        load_checkpoint(torch.nn.Linear(2, 2), str(path))
    assert not trace.exists()


@pytest.mark.parametrize(
    ('variable', 'unsafe'),
    [('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', False), ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', True)],
)
def test_contradicting_environment_is_an_error(variable, unsafe):
    os.environ[variable] = '1'
    with pytest.raises(UserError, match=variable):
        restrict_loading(unsafe=unsafe)


def test_what_mmengine_saves_is_loaded(tmp_path):
    path = tmp_path / 'full.pth'
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    saved = {
        'state_dict': torch.nn.Linear(2, 2).state_dict(),
        'message_hub': {'log_scalars': {'val/accuracy/top1': history}},
        'meta': {'epoch': 3, 'seed': np.int64(7), 'lr': np.float64(0.1)},
    }
    torch.save(saved, path)
    restrict_loading()
    loaded = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    assert loaded['meta'] == {'epoch': 3, 'seed': 7, 'lr': 0.1}
    values, _ = loaded['message_hub']['log_scalars']['val/accuracy/top1'].data
    assert values.tolist() == [1.0, 3.0]
    assert torch.equal(loaded['state_dict']['weight'], saved['state_dict']['weight'])


def test_latest_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    checkpoint = tmp_path / 'epoch_2.pth'
    checkpoint.touch()
    (tmp_path / 'last_checkpoint').write_text(str(checkpoint))
    assert latest_checkpoint(tmp_path) == checkpoint


def test_latest_checkpoint_of_a_moved_folder(tmp_path):
    checkpoint = tmp_path / 'epoch_2.pth'
    checkpoint.touch()
    (tmp_path / 'last_checkpoint').write_text('gone/elsewhere/epoch_2.pth')
    assert latest_checkpoint(tmp_path) == checkpoint
    checkpoint.unlink()
    with pytest.raises(UserError, match='epoch_2.pth'):
        latest_checkpoint(tmp_path)
