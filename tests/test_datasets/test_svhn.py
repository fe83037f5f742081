"""SVHN is read from .mat files; the extra part only on request."""

import hashlib

import numpy as np
import pytest
import scipy.io
import torchvision

from mman.datasets import SVHN


def write_mat(path, labels, red):
    images = np.zeros((32, 32, 3, len(labels)), np.uint8)
    images[:, :, 0, :], images[:, :, 2, :] = red, 200
    images[2, 5, 1, :] = np.arange(len(labels)) + 1
    scipy.io.savemat(path, {'X': images, 'y': np.array(labels, np.uint8)[:, None]})


@pytest.fixture
def root(tmp_path):
    write_mat(tmp_path / 'train_32x32.mat', [1, 10, 9], red=11)
    write_mat(tmp_path / 'test_32x32.mat', [4], red=22)
    return tmp_path


def labels(data):
    return [data[i]['gt_label'] for i in range(len(data))]


def test_pixels_and_labels(root):
    data = SVHN(str(root), verify=False)
    assert labels(data) == [1, 0, 9]
    img = data[1]['img']
    assert img.shape == (32, 32, 3) and img.dtype == np.uint8
    assert img[2, 5].tolist() == [11, 2, 200] and img[5, 2].tolist() == [11, 0, 200]
    assert type(data[0]['gt_label']) is int and data.metainfo['classes'][0] == '0'


def test_splits(root):
    assert labels(SVHN(str(root), 'test', verify=False)) == [4]
    with pytest.raises(ValueError, match="split='val' must be one of .*'train[+]extra'"):
        SVHN(str(root), 'val')


def test_extra_only_on_request(root, no_network):
    (root / 'extra_32x32.mat').write_bytes(b'not a mat file')
    assert len(SVHN(str(root), verify=False)) == 3
    with pytest.raises(RuntimeError, match='extra_32x32.mat cannot be read'):
        SVHN(str(root), 'train+extra', verify=False)
    write_mat(root / 'extra_32x32.mat', [7, 8], red=33)
    assert labels(SVHN(str(root), 'extra', verify=False)) == [7, 8]
    assert labels(SVHN(str(root), 'train+extra', verify=False)) == [1, 0, 9, 7, 8]
    assert no_network == []


def test_checksum(root, monkeypatch, no_network):
    with pytest.raises(RuntimeError, match='train_32x32.mat has the md5'):
        SVHN(str(root))
    url, name, _ = torchvision.datasets.SVHN.split_list['train']
    md5 = hashlib.md5((root / name).read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, 'train', [url, name, md5])
    assert len(SVHN(str(root))) == 3
    assert no_network == []


def test_missing_and_no_network(tmp_path, no_network):
    with pytest.raises(RuntimeError, match='no network.* Put train_32x32.mat into'):
        SVHN(str(tmp_path / 'svhn'))
    assert len(no_network) == 1
    with pytest.raises(RuntimeError, match='download=False'):
        SVHN(str(tmp_path), download=False)


def test_damaged(root):
    path = root / 'train_32x32.mat'
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(RuntimeError, match='train_32x32.mat cannot be read'):
        SVHN(str(root), verify=False)
    write_mat(path, [1, 11], red=0)
    with pytest.raises(RuntimeError, match='label 11'):
        SVHN(str(root), verify=False)


def test_single_image_file(root):
    assert SVHN(str(root), 'test', verify=False)[0]['img'].shape == (32, 32, 3)
