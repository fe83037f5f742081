"""CIFAR-10 and CIFAR-100 are read as their official batches define them."""

import email.message
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from mman.datasets import CIFAR10, CIFAR100
from mman.datasets.official_sums import SHA256
from mman.registry import DATASETS

TRAIN = [f'data_batch_{i}' for i in range(1, 6)]


def write_batch(path, labels, red, key='labels', protocol=2):
    """One batch whose image i is (red + i, 100, 200), but (7, 8, 9) at row 2, column 5."""
    images = np.empty((len(labels), 3, 32, 32), np.uint8)
    images[:, 0] = red + np.arange(len(labels))[:, None, None]
    images[:, 1], images[:, 2] = 100, 200
    images[:, :, 2, 5] = (7, 8, 9)
    batch = {'data': images.reshape(len(labels), 3072), key: labels}
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(pickle.dumps(batch, protocol=protocol))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    for i, name in enumerate(TRAIN):
        write_batch(folder / name, [i, 9 - i], red=10 * i)
    write_batch(folder / 'test_batch', [3, 1, 4], red=60)
    return tmp_path


def make_official(monkeypatch, root):
    """Let the fake batches be the official ones."""
    folder = root / 'cifar-10-batches-py'
    for key, names in (('train_list', TRAIN), ('test_list', ['test_batch'])):
        sums = [[n, hashlib.md5((folder / n).read_bytes()).hexdigest()] for n in names]
        monkeypatch.setattr(CIFAR10, key, sums)


def pack(root):
    """Replace the folder by its archive."""
    archive = root / 'cifar-10-python.tar.gz'
    folder = root / 'cifar-10-batches-py'
    with tarfile.open(archive, 'w:gz') as tar:
        tar.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return archive


def test_pixels_labels_and_order(root):
    data = CIFAR10(str(root), verify=False)
    assert [data[i]['gt_label'] for i in range(10)] == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    img = data[3]['img']
    assert img.shape == (32, 32, 3) and img.dtype == np.uint8
    assert img[0, 0].tolist() == [11, 100, 200]
    assert img[2, 5].tolist() == [7, 8, 9]
    assert type(data[0]['gt_label']) is int
    assert data.metainfo['classes'][3] == 'cat'


def test_split_decides_not_test_mode(root):
    assert len(CIFAR10(str(root), 'train', verify=False, test_mode=True)) == 10
    test = CIFAR10(str(root), 'test', verify=False)
    assert [test[i]['gt_label'] for i in range(len(test))] == [3, 1, 4]


def test_stock_keys(root, no_network):
    data = CIFAR10(str(root), verify=False, indices=4, lazy_init=True, classes=list('abcdefghij'))
    assert not data._fully_initialized
    assert len(data) == 4 and data.metainfo['classes'][0] == 'a'
    assert no_network == []


def test_short_name_is_ours(mman_scope):
    assert DATASETS.get('CIFAR10') is CIFAR10
    assert DATASETS.get('CIFAR100') is CIFAR100


def test_cifar100_reads_fine_labels(tmp_path):
    write_batch(tmp_path / 'cifar-100-python' / 'test', [99, 5], red=0, key='fine_labels')
    data = CIFAR100(str(tmp_path), 'test', verify=False)
    assert [data[0]['gt_label'], data[1]['gt_label']] == [99, 5]
    assert len(data.metainfo['classes']) == 100


def test_python2_pickle(root):
    """The official files were written by Python 2 with an early NumPy, in words like these."""
    path = root / 'cifar-10-batches-py' / 'test_batch'
    pixels = bytes(3072)
    reconstruct = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS"b"\ntR'
    dtype = b'cnumpy\ndtype\n(S"u1"\nI0\nI1\ntR(I3\nS"|"\nNNNI-1\nI-1\nI0\ntb'
    state = b'(I1\n(I1\nI3072\nt' + dtype + b'I00\nT\x00\x0c\x00\x00' + pixels + b'tb'
    path.write_bytes(b'(S"data"\n' + reconstruct + state + b'S"labels"\n(I6\nld.')
    data = CIFAR10(str(root), 'test', verify=False)
    assert data[0]['gt_label'] == 6 and not data[0]['img'].any()


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('labels', [np.array([4, 2]), [np.int64(4), np.uint8(2)]])
def test_re_encoded_by_any_pickle_protocol(root, protocol, labels):
    path = root / 'cifar-10-batches-py' / 'test_batch'
    write_batch(path, labels, red=60, protocol=protocol)
    data = CIFAR10(str(root), 'test', verify=False)
    assert [data[0]['gt_label'], data[1]['gt_label']] == [4, 2]
    assert data[1]['img'][0, 0].tolist() == [61, 100, 200]


class Pickled:
    """Pickles into a call, and what is then given to ``__setstate__``."""

    def __init__(self, call, *arguments, state=None):
        self.reduced = (call, arguments, state)

    def __reduce__(self):
        return self.reduced


def test_pickle_cannot_call_numpy_as_it_likes(root):
    """With NumPy's own functions some of these crash the interpreter."""
    reconstruct, frombuffer = (np.zeros(2).__reduce_ex__(p)[0] for p in (2, 5))
    scalar = np.uint8(0).__reduce__()[0]
    bits, objects = np.dtype('u1'), np.dtype('O')
    state = (3, '|', None, None, None, -1, -1, 0)
    fields = (3, '|', None, ('a',), {'a': (objects, 3)}, 8, 1, 0)
    empty = (reconstruct, np.ndarray, (0,), b'b')
    wrong = [
        Pickled(np.ndarray, (4,), objects, b'A' * 32),
        Pickled(np.ndarray, (4,), bits),
        Pickled(np.dtype, 'V8', False, True, state=fields),
        Pickled(np.dtype, 'u1', False, True, state=fields),
        Pickled(np.dtype, 'u1', False, True, state=state[:7]),
        Pickled(reconstruct, np.ndarray, (4,), b'b'),
        Pickled(reconstruct, np.ndarray, (0,), b'O'),
        Pickled(*empty, state=(1, (4,), objects, False, b'A' * 32)),
        Pickled(*empty, state=(1, (4,), bits, False, [None] * 4)),
        Pickled(*empty, state=(1, (1000, 3072), bits, False, b'A' * 32)),
        Pickled(*empty, state=(1, (-4, -8), bits, False, b'A' * 32)),
        Pickled(*empty, state=(1, (2**32, 2**32), bits, False, b'')),
        Pickled(frombuffer, b'A' * 32, objects, (4,), 'C'),
        Pickled(frombuffer, b'A' * 32, bits, (64,), 'C'),
        Pickled(scalar, objects, b'A' * 8),
        Pickled(scalar, np.dtype('u8'), b'A'),
    ]
    path = root / 'cifar-10-batches-py' / 'test_batch'
    contents = [pickle.dumps({'data': value}) for value in wrong]
    # A tuple in a tuple and so on as a key, and an object numbered as if billions came before it.
    contents += [b'})' + b'\x85' * 10**6 + b'Ns.', b'}r\xff\xff\xff\x7f.']
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match='test_batch cannot be read .* is not plain array'):
            CIFAR10(str(root), 'test', verify=False)


def test_checksum_on(root, monkeypatch):
    make_official(monkeypatch, root)
    assert len(CIFAR10(str(root))) == 10


def test_wrong_checksum_leaves_files_alone(root, no_network):
    path = root / 'cifar-10-batches-py' / 'data_batch_1'
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match=r'data_batch_1 has the md5 .*verify=False') as caught:
        CIFAR10(str(root))
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert path.read_bytes() == before and no_network == []
    assert not (root / 'cifar-10-python.tar.gz').exists()


def test_missing_file_in_folder_is_not_downloaded(root, no_network):
    (root / 'cifar-10-batches-py' / 'data_batch_3').unlink()
    with pytest.raises(RuntimeError, match=r'data_batch_3 is missing'):
        CIFAR10(str(root), verify=False)
    assert no_network == []
    assert len(CIFAR10(str(root), 'test', verify=False)) == 3


def test_truncated_file(root):
    path = root / 'cifar-10-batches-py' / 'data_batch_2'
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RuntimeError, match=r'data_batch_2 cannot be read'):
        CIFAR10(str(root), verify=False)


@pytest.mark.parametrize(
    'batch, message',
    [
        ({'data': np.zeros((2, 3072), np.uint8), 'labels': [1]}, '2 images and 1 labels'),
        ({'data': np.zeros((1, 3072), np.uint8), 'labels': [10]}, r'label 10, .*\[0, 9\]'),
        ({'data': np.zeros((1, 3072), np.uint8), 'labels': [-1]}, r'label -1, .*\[0, 9\]'),
        ({'data': np.zeros((1, 3072), np.uint8), 'labels': [0.5]}, 'labels of float64'),
        ({'data': np.zeros((1, 3072)), 'labels': [1]}, 'other than of integers is not plain'),
        ({'data': np.zeros((1, 3000), np.uint8), 'labels': [1]}, 'cannot be read'),
        ({'data': np.zeros((0, 3072), np.uint8), 'labels': []}, '0 images'),
        ({'labels': [1]}, 'cannot be read'),
    ],
)
def test_wrong_content(root, batch, message):
    path = root / 'cifar-10-batches-py' / 'test_batch'
    path.write_bytes(pickle.dumps(batch))
    with pytest.raises(RuntimeError, match=f'test_batch.*{message}'):
        CIFAR10(str(root), 'test', verify=False)


def test_no_network_says_what_to_put_where(tmp_path, no_network):
    root = tmp_path / 'new'
    with pytest.raises(RuntimeError) as caught:
        CIFAR10(str(root))
    message = str(caught.value)
    for part in (CIFAR10.url, 'no network', 'cifar-10-batches-py/', str(root), 'verify=False'):
        assert part in message
    assert '.tar.gz' in message and caught.value.__context__ is None
    assert no_network == [CIFAR10.url]
    assert list(root.iterdir()) == []


def test_only_rank_0_fetches(tmp_path, monkeypatch, no_network):
    monkeypatch.setattr('mman.utils.all_ranks.dist.is_main_process', lambda: False)
    with pytest.raises(RuntimeError, match='data_batch_1 is missing'):
        CIFAR10(str(tmp_path))
    assert no_network == []


def test_download_false(tmp_path, no_network):
    with pytest.raises(RuntimeError, match=r'all of .*nowhere\) is missing, and download=False'):
        CIFAR10(str(tmp_path / 'nowhere'), download=False)
    assert not (tmp_path / 'nowhere').exists()
    with pytest.raises(RuntimeError, match=r'cifar-10-batches-py is missing, and download=False'):
        CIFAR10(str(tmp_path), download=False)
    assert no_network == []


def test_archive_is_unpacked_without_download(root, monkeypatch, no_network):
    make_official(monkeypatch, root)
    archive = pack(root)
    monkeypatch.setitem(SHA256, archive.name, hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(CIFAR10(str(root), download=False)) == 10
    assert sorted(p.name for p in root.iterdir()) == ['cifar-10-batches-py', archive.name]
    assert no_network == []


def test_other_archive_needs_verify_false(root, no_network):
    archive = pack(root)
    before = archive.read_bytes()
    with pytest.raises(RuntimeError, match=r'tar\.gz has the sha256'):
        CIFAR10(str(root))
    assert archive.read_bytes() == before and no_network == []
    assert len(CIFAR10(str(root), verify=False)) == 10


def test_truncated_archive_leaves_no_folder(root):
    archive = pack(root)
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(RuntimeError, match=r'cifar-10-python\.tar\.gz cannot be read'):
        CIFAR10(str(root), verify=False)
    assert [p.name for p in root.iterdir()] == [archive.name]


def fake_network(monkeypatch, content):
    class Response(io.BytesIO):
        def info(self):
            return email.message.Message()

    monkeypatch.setattr('torch.hub.urlopen', lambda request: Response(content))


def test_download(root, tmp_path, monkeypatch):
    make_official(monkeypatch, root)
    content = pack(root).read_bytes()
    fake_network(monkeypatch, content)
    target = tmp_path / 'fresh'
    with pytest.raises(RuntimeError, match='expected "6d958be0'):
        CIFAR10(str(target))
    assert list(target.iterdir()) == []
    monkeypatch.setitem(SHA256, CIFAR10.filename, hashlib.sha256(content).hexdigest())
    assert len(CIFAR10(str(target))) == 10


@pytest.mark.parametrize(
    'keys, message',
    [
        (dict(data_root=''), r"CIFAR10: data_root='' must be the path"),
        (dict(data_root='s3://bucket/cifar'), r"data_root='s3://bucket/cifar' must be .*local"),
        (dict(data_root='x', split='val'), r"split='val' must be one of 'train', 'test'"),
        (dict(data_root='x', verify='no'), r"verify='no' must be one of True, False"),
        (dict(data_root='x', download=1), r'download=1 must be one of True, False'),
    ],
)
def test_wrong_keys(keys, message):
    with pytest.raises(ValueError, match=message):
        CIFAR10(**keys)
