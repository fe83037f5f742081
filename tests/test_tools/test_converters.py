"""tools/model_converters: each script hands its arguments on; tests/test_export has the rest."""

import pytest
import torch

from mman.apis import get_model
from tests.helpers.converters import succeeded
from tests.helpers.run_tool import call_tool, one_error
from tests.helpers.trained_digits import CONFIG, write_pictures


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A drawn checkpoint, a file as the release has it, and a folder of pictures."""
    folder = tmp_path_factory.mktemp('files')
    ours, release = folder / 'ours.pth', folder / 'release.pth'
    torch.save(dict(meta={}, state_dict=get_model(CONFIG).state_dict()), ours)
    names = ('fc64.weight', 'layer1.0.conv1.weight')
    torch.save({f'module.{name}': torch.zeros(1) for name in names}, release)
    (folder / 'pictures').mkdir()
    pictures = write_pictures(folder / 'pictures', 4)
    return dict(CONFIG=CONFIG, OURS=str(ours), RELEASE=str(release), PICTURES=str(pictures))


@pytest.mark.parametrize(
    ('tool', 'arguments', 'said'),
    [
        ('publish_model', 'OURS x --keep-aux-heads', 'x-'),
        ('export_weights', 'CONFIG OURS x.safetensors --format safetensors', 'x.safetensors'),
        ('export_onnx', 'CONFIG OURS x.onnx --input pixels --images PICTURES', '4 images'),
        ('export_torch', 'CONFIG OURS x.pt --how script --images PICTURES', '4 images'),
        ('convert_man_release', 'RELEASE x.pth', '2 entries, 0 of training'),
    ],
)
def test_a_run(files, tmp_path, tool, arguments, said):
    words = [files.get(word, word) for word in arguments.split()]
    words = [str(tmp_path / word) if word.startswith('x') else word for word in words]
    out = succeeded(call_tool(f'model_converters/{tool}.py', *words))
    (written,) = tmp_path.iterdir()
    assert said in out and str(written) in out
    assert ('uint8' in out) == ('pixels' in arguments)


def test_an_error_is_one_line(files, tmp_path):
    arguments = (CONFIG, files['OURS'], tmp_path / 'x.pth', '--format', 'timm')
    line = one_error(call_tool('model_converters/export_weights.py', *arguments))
    assert "format='timm': backbone CIFARResNet" in line
