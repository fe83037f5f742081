"""STL-10 is read from its binary files, column by column, without the unlabelled part."""

import hashlib

import numpy as np
import pytest

from mman.datasets import STL10


def write_split(folder, split, labels, red):
    images = np.zeros((len(labels), 3, 96, 96), np.uint8)
    images[:, 0], images[:, 2] = red, 200
    images[:, 1, 2, 50] = 99
    folder.mkdir(exist_ok=True)
    # Each plane is stored column by column.
    (folder / f'{split}_X.bin').write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    (folder / f'{split}_y.bin').write_bytes(bytes(labels))


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path / 'stl10_binary', 'train', [1, 10, 4], red=11)
    write_split(tmp_path / 'stl10_binary', 'test', [2, 3], red=22)
    return tmp_path


def test_pixels_labels_and_splits(root, no_network):
    train, test = STL10(str(root), verify=False), STL10(str(root), 'test', verify=False)
    assert [train[i]['gt_label'] for i in range(len(train))] == [0, 9, 3]
    assert [test[i]['gt_label'] for i in range(len(test))] == [1, 2]
    img = train[0]['img']
    assert img.shape == (96, 96, 3) and img.dtype == np.uint8
    assert img[2, 50].tolist() == [11, 99, 200] and img[50, 2].tolist() == [11, 0, 200]
    assert img.flags.c_contiguous and type(train[0]['gt_label']) is int
    assert train.metainfo['classes'][9] == 'truck' and len(train.metainfo['classes']) == 10
    assert no_network == []


def test_checksum(root, monkeypatch):
    with pytest.raises(RuntimeError, match='train_X.bin has the md5'):
        STL10(str(root))
    folder = root / 'stl10_binary'
    sums = [
        [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]
        for name in ('train_X.bin', 'train_y.bin')
    ]
    monkeypatch.setattr(STL10, 'train_list', sums)
    assert len(STL10(str(root))) == 3


def test_missing_and_no_network(root, tmp_path, no_network):
    with pytest.raises(RuntimeError, match='no network.* Put the folder stl10_binary/'):
        STL10(str(tmp_path / 'new'))
    assert len(no_network) == 1
    with pytest.raises(RuntimeError, match='stl10_binary .*download=False'):
        STL10(str(tmp_path / 'none'), download=False)
    (root / 'stl10_binary' / 'test_y.bin').unlink()
    with pytest.raises(RuntimeError, match='test_y.bin is missing'):
        STL10(str(root), 'test', verify=False)
    assert len(no_network) == 1


@pytest.mark.parametrize('cut, message', [(1, 'cannot be read'), (27648, '2 images and 3 labels')])
def test_truncated(root, cut, message):
    path = root / 'stl10_binary' / 'train_X.bin'
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RuntimeError, match=f'train_X.bin.*{message}'):
        STL10(str(root), verify=False)


@pytest.mark.parametrize('label', [0, 11])
def test_label_out_of_range(root, label):
    (root / 'stl10_binary' / 'train_y.bin').write_bytes(bytes([1, label, 2]))
    with pytest.raises(RuntimeError, match=r'labels must lie in \[0, 9\]'):
        STL10(str(root), verify=False)


def test_unlabelled_is_no_split(root):
    with pytest.raises(ValueError, match="split='unlabeled' must be one of 'train', 'test'"):
        STL10(str(root), 'unlabeled')
