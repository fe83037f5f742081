"""export_onnx and export_torch: programs that give the scores of the classifier."""

import onnxruntime
import pytest
import torch

from mman.export import export_onnx, export_torch
from mman.export.plain_classifier import check_equal
from mman.utils import UserError
from tests.helpers.converters import VIT, assert_close, config_of, drawn_model, plain_digits
from tests.helpers.trained_digits import CONFIG, normalised


def inputs(digits, pixels):
    """The pictures as an exported program takes them."""
    if pixels:
        return torch.from_numpy(digits.images).permute(0, 3, 1, 2).contiguous()
    return normalised(digits.images)


@pytest.mark.parametrize('pixels', [pytest.param(False, marks=pytest.mark.full), True])
def test_onnx(digits, tmp_path, pixels):
    out = tmp_path / 'x.onnx'
    written = export_onnx(CONFIG, digits.path, str(out), pixels, str(digits.folder))
    assert '100 images' in str(written)
    session = onnxruntime.InferenceSession(out, providers=['CPUExecutionProvider'])
    images = inputs(digits, pixels).numpy()
    (scores,) = session.run(None, {'images': images})
    assert_close(scores, digits.scores)
    (single,) = session.run(['scores'], {'images': images[:1]})
    assert_close(single, digits.scores[:1])
    assert [file.name for file in tmp_path.iterdir()] == ['x.onnx']


@pytest.mark.parametrize(
    ('how', 'suffix', 'pixels'), [('export', 'pt2', True), ('script', 'pt', False)]
)
def test_torch(digits, tmp_path, how, suffix, pixels):
    out = tmp_path / f'x.{suffix}'
    written = export_torch(CONFIG, digits.path, str(out), how, pixels)
    assert ('uint8' in str(written)) == pixels
    program = torch.export.load(out).module() if how == 'export' else torch.jit.load(out)
    images = inputs(digits, pixels)
    with torch.no_grad():
        assert_close(program(images), digits.scores)
        assert_close(program(images[:1]), digits.scores[:1])


@pytest.mark.full
@pytest.mark.slow
def test_vision_transformer_to_onnx(photos, tmp_path):
    cfg = config_of('bp/vit-tiny_imagenet', VIT)
    path, model = drawn_model(cfg, tmp_path)
    out = tmp_path / 'x.onnx'
    export_onnx(cfg, path, str(out))
    session = onnxruntime.InferenceSession(out, providers=['CPUExecutionProvider'])
    (scores,) = session.run(None, {'images': photos.numpy()})
    with torch.no_grad():
        assert_close(scores, model(photos))


def test_bad_input(digits, tmp_path):
    with pytest.raises(UserError, match='should end with .pt2'):
        export_torch(CONFIG, digits.path, str(tmp_path / 'x.pt'))
    with pytest.raises(UserError, match="how='jit' should be 'export' or 'script'"):
        export_torch(CONFIG, digits.path, str(tmp_path / 'x.pt'), 'jit')
    out, folder = str(tmp_path / 'x.onnx'), str(tmp_path / 'absent')
    with pytest.raises(UserError, match="absent' does not exist"):
        export_onnx(CONFIG, digits.path, out, images=folder)
    assert not list(tmp_path.iterdir())


def test_a_wrong_export_is_refused(digits):
    images = normalised(digits.images)
    model = plain_digits(digits.model.state_dict())
    assert check_equal(lambda x: model(x) + 1e-6, model, images) < 1e-5
    for wrong in (lambda x: model(x) + 1e-2, lambda x: model(x) * float('nan')):
        with pytest.raises(UserError, match='other scores'):
            check_equal(wrong, model, images)
