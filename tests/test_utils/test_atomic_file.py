"""Files are whole or absent, and every changed byte is noticed."""

import io
import os
import random
import resource
import zipfile

import pytest
import torch

from mman.utils.atomic_file import require_whole, sealed, write_atomically
from mman.utils.checkpoint import load_from_local
from mman.utils.errors import UserError


def saved(**kwargs):
    """The bytes of a checkpoint."""
    buffer = io.BytesIO()
    generator = torch.Generator().manual_seed(0)
    weights = {'weight': torch.randn(40, 40, generator=generator), 'bias': torch.zeros(40)}
    torch.save({'state_dict': weights, 'meta': {'epoch': 1, 'iter': 8}}, buffer, **kwargs)
    return buffer.getvalue()


@pytest.fixture(scope='module')
def content():
    return sealed(saved())


@pytest.fixture
def full_disk():
    """Lets no file of this process grow beyond 4,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_seal_changes_nothing_for_readers(tmp_path, content):
    path = tmp_path / 'model.pth'
    write_atomically(path, content)
    assert [file.name for file in tmp_path.iterdir()] == ['model.pth']
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
    plain = torch.load(io.BytesIO(saved()), weights_only=True)
    for loaded in (
        torch.load(path, weights_only=True),
        torch.load(path, weights_only=True, mmap=True),
        load_from_local(str(path)),
    ):
        assert loaded['meta'] == {'epoch': 1, 'iter': 8}
        assert torch.equal(loaded['state_dict']['weight'], plain['state_dict']['weight'])
    require_whole(path)


def test_a_file_is_replaced_or_left(tmp_path, full_disk):
    path = tmp_path / 'model.pth'
    write_atomically(path, b'a' * 3000)
    write_atomically(path, b'b' * 3500)
    with pytest.raises(
        UserError, match=r'model.pth.*5,000 bytes.*File too large.*earlier'
    ) as error:
        write_atomically(path, b'c' * 5000)
    assert '\n' not in str(error.value)
    assert path.read_bytes() == b'b' * 3500
    assert [file.name for file in tmp_path.iterdir()] == ['model.pth']


def test_what_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    path = tmp_path / 'model.pth'
    path.write_bytes(b'before')

    def lose_a_byte(descriptor):
        (file,) = tmp_path.glob('model.pth.*')
        file.write_bytes(b'afte')

    monkeypatch.setattr('os.fsync', lose_a_byte)
    with pytest.raises(UserError, match='reads back differently'):
        write_atomically(path, b'after')
    assert path.read_bytes() == b'before'
    assert [file.name for file in tmp_path.iterdir()] == ['model.pth']


def test_two_writers_of_one_name_do_not_meet(tmp_path, monkeypatch):
    """The second one writes all of its file while the first is about to rename."""
    path, replace = tmp_path / 'model.pth', os.replace

    def write_another(*args):
        monkeypatch.setattr('os.replace', replace)
        write_atomically(path, b'second')
        assert path.read_bytes() == b'second'
        replace(*args)

    monkeypatch.setattr('os.replace', write_another)
    write_atomically(path, b'first')
    assert path.read_bytes() == b'first'
    assert [file.name for file in tmp_path.iterdir()] == ['model.pth']


def refused(path):
    with pytest.raises(UserError) as error:
        load_from_local(str(path))
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_a_flipped_bit_anywhere_is_noticed(tmp_path, content):
    """60 random ones, and every bit of the last 120 bytes, where the checksum itself is."""
    rng, path = random.Random(0), tmp_path / 'flipped.pth'
    bits = [rng.randrange(8 * len(content)) for _ in range(60)]
    bits += range(8 * (len(content) - 120), 8 * len(content))
    for bit in bits:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        refused(path)


def test_a_cut_file_is_noticed(tmp_path, content):
    rng, path = random.Random(1), tmp_path / 'cut.pth'
    lengths = [0, 1, 2, len(content) - 1, len(content) - 76, len(content) - 98]
    for length in [*lengths, *(rng.randrange(len(content)) for _ in range(20))]:
        path.write_bytes(content[:length])
        refused(path)


def test_flipped_weights_of_a_plain_file_are_noticed(tmp_path):
    """What torch.save wrote by itself has the checksums of a zip file only."""
    plain, path = saved(), tmp_path / 'plain.pth'
    path.write_bytes(plain)
    require_whole(path)
    with zipfile.ZipFile(path) as file:
        (member,) = (item for item in file.infolist() if item.file_size == 6400)
    # A member's name and 30 bytes of other fields precede its content.
    start = member.header_offset + 30 + len(member.filename)
    start = plain.index(plain[start + 64 : start + 6000], start)
    rng = random.Random(2)
    for _ in range(10):
        damaged = bytearray(plain)
        damaged[start + rng.randrange(5900)] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        refused(path)


def foreign_files():
    rng = random.Random(3)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('readme.txt', 'no checkpoint')
    return {
        'text': b'epoch,loss\n1,2.3\n' * 50,
        'html': b'<html><body>404 not found</body></html>',
        'png': b'\x89PNG\r\n\x1a\n' + rng.randbytes(500),
        'gzip': b'\x1f\x8b\x08\x00' + rng.randbytes(500),
        'zip': archive.getvalue(),
        'zeros': bytes(5000),
        'ones': b'\xff' * 5000,
        **{f'noise{i}': rng.randbytes(rng.randrange(1, 4000)) for i in range(20)},
        **{f'noise as pickle {i}': b'\x80\x02' + rng.randbytes(300) for i in range(20)},
    }


def test_a_foreign_file_is_refused(tmp_path):
    for name, content in foreign_files().items():
        path = tmp_path / f'{name}.pth'
        path.write_bytes(content)
        refused(path)


def test_old_files_of_torch_are_loaded_and_not_sealed(tmp_path):
    old = saved(_use_new_zipfile_serialization=False)
    assert sealed(old) == old
    path = tmp_path / 'old.pth'
    path.write_bytes(old)
    assert load_from_local(str(path))['meta'] == {'epoch': 1, 'iter': 8}
