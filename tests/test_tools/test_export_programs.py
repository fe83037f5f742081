"""export_onnx.py and export_torch.py: programs that give the scores of the classifier."""

import onnxruntime
import pytest
import torch

from tests.helpers.converters import (
    VIT,
    assert_close,
    drawn_model,
    error_of,
    plain_digits,
    succeeded,
)
from tests.helpers.run_tool import call_tool
from tests.helpers.trained_digits import CONFIG, normalised


class TestPrograms:
    """ONNX, torch.export and TorchScript."""

    @pytest.mark.parametrize('kind', ['normalised', 'pixels'])
    def test_onnx(self, digits, tmp_path, kind):
        out = tmp_path / 'x.onnx'
        arguments = (CONFIG, digits.path, out, '--input', kind, '--images', digits.folder)
        said = succeeded(call_tool('model_converters/export_onnx.py', *arguments))
        assert '100 images' in said
        session = onnxruntime.InferenceSession(out, providers=['CPUExecutionProvider'])
        images = self.inputs(digits, kind).numpy()
        (scores,) = session.run(None, {'images': images})
        assert_close(scores, digits.scores)
        (single,) = session.run(['scores'], {'images': images[:1]})
        assert_close(single, digits.scores[:1])
        assert [file.name for file in tmp_path.iterdir()] == ['x.onnx']

    @pytest.mark.parametrize('kind', ['normalised', 'pixels'])
    @pytest.mark.parametrize(('how', 'suffix'), [('export', '.pt2'), ('script', '.pt')])
    def test_torch(self, digits, tmp_path, how, suffix, kind):
        out = tmp_path / f'x{suffix}'
        arguments = (CONFIG, digits.path, out, '--how', how, '--input', kind)
        said = succeeded(call_tool('model_converters/export_torch.py', *arguments))
        assert ('uint8' in said) == (kind == 'pixels')
        program = torch.export.load(out).module() if how == 'export' else torch.jit.load(out)
        images = self.inputs(digits, kind)
        with torch.no_grad():
            assert_close(program(images), digits.scores)
            assert_close(program(images[:1]), digits.scores[:1])

    @pytest.mark.slow
    def test_vision_transformer_to_onnx(self, photos, tmp_path):
        path, model = drawn_model('bp/vit-tiny_imagenet', VIT, tmp_path)
        out = tmp_path / 'x.onnx'
        arguments = ('bp/vit-tiny_imagenet', path, out, '--cfg-options', *VIT)
        succeeded(call_tool('model_converters/export_onnx.py', *arguments))
        session = onnxruntime.InferenceSession(out, providers=['CPUExecutionProvider'])
        (scores,) = session.run(None, {'images': photos.numpy()})
        with torch.no_grad():
            assert_close(scores, model(photos))

    def test_bad_input(self, digits, tmp_path):
        arguments = (CONFIG, digits.path, tmp_path / 'x.pt', '--how', 'export')
        line = error_of(call_tool('model_converters/export_torch.py', *arguments))
        assert '.pt2' in line
        arguments = (CONFIG, digits.path, tmp_path / 'x.onnx', '--images', tmp_path / 'absent')
        assert 'absent' in error_of(call_tool('model_converters/export_onnx.py', *arguments))
        assert not list(tmp_path.iterdir())

    def test_a_wrong_export_is_not_written(self, digits, monkeypatch):
        monkeypatch.syspath_prepend('tools/model_converters')
        from plain_classifier import check_equal

        images = normalised(digits.images)
        model = plain_digits(digits.model.state_dict())
        assert check_equal(lambda x: model(x) + 1e-6, model, images) < 1e-5
        for wrong in (lambda x: model(x) + 1e-2, lambda x: model(x) * float('nan')):
            with pytest.raises(ValueError, match='other scores'):
                check_equal(wrong, model, images)

    @staticmethod
    def inputs(digits, kind):
        if kind == 'normalised':
            return normalised(digits.images)
        return torch.from_numpy(digits.images).permute(0, 3, 1, 2).contiguous()
