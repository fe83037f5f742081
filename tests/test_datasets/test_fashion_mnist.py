"""Fashion-MNIST is read from idx files, compressed or not, by its split."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from mman.datasets import FashionMNIST, fashion_mnist
from mman.registry import DATASETS


def idx(array):
    head = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def contents(prefix, labels, value):
    images = np.full((len(labels), 28, 28), value)
    images[:, 3, 7] = 77
    return {
        f'{prefix}-images-idx3-ubyte': idx(images),
        f'{prefix}-labels-idx1-ubyte': idx(np.array(labels)),
    }


@pytest.fixture
def files(tmp_path):
    both = contents('train', [5, 0, 9], 10) | contents('t10k', [2, 8], 20)
    for name, content in both.items():
        (tmp_path / f'{name}.gz').write_bytes(gzip.compress(content))
    return both


def make_official(monkeypatch, files):
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(fashion_mnist, '_CONTENT_MD5', sums)


def labels(data):
    return [data[i]['gt_label'] for i in range(len(data))]


def test_split_decides_not_test_mode(tmp_path, files):
    assert labels(FashionMNIST(str(tmp_path), verify=False, test_mode=True)) == [5, 0, 9]
    assert labels(FashionMNIST(str(tmp_path), 'test', verify=False)) == [2, 8]


@pytest.mark.parametrize('channels', [1, 3])
def test_pixels_and_channels(tmp_path, files, channels):
    sample = FashionMNIST(str(tmp_path), 'test', verify=False, channels=channels)[0]
    assert sample['img'].shape == (28, 28, channels) and sample['img'].dtype == np.uint8
    assert sample['img'][3, 7].tolist() == [77] * channels
    assert sample['img'][7, 3].tolist() == [20] * channels
    assert type(sample['gt_label']) is int


def test_raw_and_compressed_are_both_verified(tmp_path, files, monkeypatch):
    make_official(monkeypatch, files)
    assert len(FashionMNIST(str(tmp_path))) == 3
    (tmp_path / 'train-labels-idx1-ubyte.gz').unlink()
    raw = tmp_path / 'train-labels-idx1-ubyte'
    raw.write_bytes(files[raw.name])
    assert labels(FashionMNIST(str(tmp_path))) == [5, 0, 9]
    raw.write_bytes(idx(np.array([5, 0, 8])))
    with pytest.raises(RuntimeError, match='labels-idx1-ubyte has the md5 .*verify=False'):
        FashionMNIST(str(tmp_path))
    assert labels(FashionMNIST(str(tmp_path), verify=False)) == [5, 0, 8]


def test_wrong_checksum_leaves_files_alone(tmp_path, files, no_network):
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match=r'train-images-idx3-ubyte\.gz has the md5'):
        FashionMNIST(str(tmp_path))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert no_network == []


def test_only_missing_files_are_downloaded(tmp_path, files, no_network):
    (tmp_path / 't10k-labels-idx1-ubyte.gz').unlink()
    assert len(FashionMNIST(str(tmp_path), 'train', verify=False)) == 3
    with pytest.raises(RuntimeError, match='cannot be downloaded .*no network') as caught:
        FashionMNIST(str(tmp_path), 'test', verify=False)
    assert 't10k-labels-idx1-ubyte (with or without .gz)' in str(caught.value)
    assert [url.rsplit('/', 1)[1] for url in no_network] == ['t10k-labels-idx1-ubyte.gz']
    with pytest.raises(RuntimeError, match='download=False'):
        FashionMNIST(str(tmp_path), 'test', verify=False, download=False)


@pytest.mark.parametrize('cut', [1, 500])
def test_truncated(tmp_path, files, cut):
    name = 'train-images-idx3-ubyte'
    (tmp_path / f'{name}.gz').write_bytes(gzip.compress(files[name][:-cut]))
    with pytest.raises(RuntimeError, match=rf'{name}\.gz cannot be read'):
        FashionMNIST(str(tmp_path), verify=False)
    (tmp_path / f'{name}.gz').write_bytes(gzip.compress(files[name])[: -cut // 100 - 1])
    with pytest.raises(RuntimeError, match=rf'{name}\.gz cannot be read'):
        FashionMNIST(str(tmp_path), verify=False)


def test_other_format_and_wrong_labels(tmp_path, files):
    path = tmp_path / 'train-labels-idx1-ubyte.gz'
    path.write_bytes(gzip.compress(b'\0\0\x0d\1' + bytes(16)))
    with pytest.raises(RuntimeError, match='magic number is 00000d01'):
        FashionMNIST(str(tmp_path), verify=False)
    path.write_bytes(gzip.compress(idx(np.array([1, 2, 10]))))
    with pytest.raises(RuntimeError, match='label 10'):
        FashionMNIST(str(tmp_path), verify=False)


def test_keys(mman_scope):
    assert DATASETS.get('FashionMNIST') is FashionMNIST
    with pytest.raises(ValueError, match='channels=2 must be one of 1, 3'):
        FashionMNIST('x', channels=2)
