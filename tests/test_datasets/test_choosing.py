"""Some samples of every class: which they are, and where there are too few."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mman.datasets import Digits, ImageFolder, InMemoryDataset
from mman.utils import UserError
from tests.test_datasets.test_digits import SIZES, arrays


def test_as_many_of_every_class():
    labels = arrays(Digits('test', per_class=7))[1]
    assert np.bincount(labels).tolist() == [7] * 10
    held = InMemoryDataset(dict(type='Digits', split='test', per_class=7), lazy_init=True)
    assert held.known_length() == len(held) == 70
    assert held.labels.tolist() == labels.tolist()


def test_the_samples_are_those_of_the_seed():
    whole = arrays(Digits('test'))[0]

    def places(**keys):
        images = arrays(Digits('test', **keys))[0]
        return [int(np.flatnonzero((whole == image).all((1, 2, 3)))[0]) for image in images]

    few, many = places(per_class=3), places(per_class=30)
    assert few == sorted(few) and len(set(few)) == 30
    assert set(few) < set(many)
    assert few == places(per_class=3) != places(per_class=3, per_class_seed=1)
    # Not the first of each.
    assert few[:10] != list(range(10))


def test_images_in_folders(tmp_path):
    for label, name in enumerate(('crow', 'owl')):
        for number in range(5):
            path = tmp_path / name / f'{number}.png'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), label, np.uint8)).save(path)
    data = ImageFolder(str(tmp_path), per_class=3)
    assert Counter(data.get_gt_labels().tolist()) == {0: 3, 1: 3}
    with pytest.raises(UserError, match='per_class=5 is more than the 4 samples of the class crow'):
        ImageFolder(str(tmp_path), per_class=5)
    with pytest.raises(UserError, match='indices=9 is more than the 8 samples'):
        ImageFolder(str(tmp_path), indices=9)


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(per_class=0), 'per_class=0 must be an integer from 1 on'),
        (dict(per_class=2, per_class_seed=-1), 'per_class_seed=-1'),
        (dict(per_class=2, indices=4), 'per_class=2 and indices=4 both choose'),
        (dict(per_class=36), f'more than the {SIZES[2]} samples of the class 2'),
    ],
)
def test_what_is_refused(keys, message):
    with pytest.raises(UserError, match=message):
        Digits('test', **keys)


def test_classes_that_the_first_samples_leave_out():
    lines = []

    class Logger:
        @staticmethod
        def warning(line):
            lines.append(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mman.datasets.choosing.MMLogger.get_current_instance', Logger)
        labels = [arrays(Digits('test', indices=count))[1] for count in (6, -6)]
        Digits('test', indices=300)
        Digits('test', indices=[0, 1])
    found = [len(set(part.tolist())) for part in labels]
    assert max(found) < 10 and len(lines) == 2
    for count, line in zip(found, lines, strict=True):
        assert f'samples of {count} of 10 classes only; per_class=N draws N' in line
