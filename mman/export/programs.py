"""Exporting the classifier as a program: ONNX, torch.export or TorchScript."""

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config

from mman.apis import get_model
from mman.utils import UserError
from mman.utils.new_file import check_new_file, write_new

from .exported import Exported
from .plain_classifier import PlainClassifier, check_equal, sample_images

Run = Callable[[torch.Tensor], torch.Tensor]
# Of the classifier and two images: the file's content, and the program read back from it.
Writer = Callable[[PlainClassifier, torch.Tensor], tuple[bytes, Run]]


def export_onnx(
    config: str | Config,
    checkpoint: str,
    out: str,
    pixels: bool = False,
    images: str | None = None,
) -> Exported:
    """Export a classifier as ONNX, with any size of batch, and compare it with torch.

    The file's input is ``images`` (N, C, H, W), its output ``scores`` (N, num_classes) before
    softmax. It runs in onnxruntime on the CPU to be compared, in batches of several sizes.

    Args:
        config (str | Config): As :func:`mman.apis.get_model` takes it.
        checkpoint (str): A local file, of training or published.
        out (str): The new file, .onnx.
        pixels (bool): Whether the images are uint8 pixels from 0 to 255,
            normalised inside. Defaults to False, float32 normalised as in
            training. Channels are in the order of ``data_preprocessor.mean``.
        images (str | None): A folder of images to compare on. Defaults to None, random pixels.

    Raises:
        UserError: If the config, the checkpoint, ``out`` or ``images`` is refused, a package is
            missing, or the scores differ by more than 1e-4 of the largest. Nothing is written then.
    """
    return _export(_onnx, '.onnx', config, checkpoint, out, pixels, images)


def export_torch(
    config: str | Config,
    checkpoint: str,
    out: str,
    how: str = 'export',
    pixels: bool = False,
    images: str | None = None,
) -> Exported:
    """Export a classifier as a program of torch.export or as TorchScript, with any size of batch.

    All arguments but these are as in :func:`export_onnx`.

    Args:
        out (str): The new file, .pt2 for 'export' and .pt for 'script'.
        how (str): 'export', a file for ``torch.export.load``, or 'script', one
            for ``torch.jit.load``. Defaults to 'export'.

    Raises:
        UserError: As :func:`export_onnx` does, or if ``how`` is another word.
    """
    kinds = dict(export=(_exported, '.pt2'), script=(_scripted, '.pt'))
    if how not in kinds:
        raise UserError(f'how={how!r} should be {" or ".join(map(repr, kinds))}')
    return _export(*kinds[how], config, checkpoint, out, pixels, images)


def _export(
    write: Writer,
    suffix: str,
    config: str | Config,
    checkpoint: str,
    out: str,
    pixels: bool,
    images: str | None,
) -> Exported:
    """Export, compare what was read back, and write it if it is the same."""
    check_new_file(out, suffix)
    model = get_model(config, checkpoint)
    classifier = PlainClassifier(model, pixels).eval()
    inputs = sample_images(model, images, pixels)
    with torch.no_grad():
        content, run = write(classifier, inputs[:2])
    difference = check_equal(run, classifier, inputs)
    write_new(out, content)
    facts = dict(
        input=f'images (N, {", ".join(map(str, inputs.shape[1:]))}): {classifier.takes}',
        output='scores (N, classes), before softmax',
    )
    return Exported(out, facts, difference, len(inputs))


def _onnx(classifier: PlainClassifier, example: torch.Tensor) -> tuple[bytes, Run]:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'exporting ONNX needs onnx, onnxruntime and onnxscript: {error}'
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'model.onnx'
        torch.onnx.export(
            classifier,
            (example,),
            path,
            dynamo=True,
            input_names=['images'],
            output_names=['scores'],
            dynamic_shapes=({0: torch.export.Dim('batch')},),
            external_data=False,
            verbose=False,
        )
        content = path.read_bytes()
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return content, lambda x: torch.from_numpy(session.run(None, {'images': x.numpy()})[0])


def _exported(classifier: PlainClassifier, example: torch.Tensor) -> tuple[bytes, Run]:
    shapes = ({0: torch.export.Dim('batch')},)
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(classifier, (example,), dynamic_shapes=shapes), buffer)
    return buffer.getvalue(), torch.export.load(io.BytesIO(buffer.getvalue())).module()


def _scripted(classifier: PlainClassifier, example: torch.Tensor) -> tuple[bytes, Run]:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # It warns of every shape that Python looks at; the comparison tells whether that matters.
        warnings.simplefilter('ignore')
        torch.jit.save(torch.jit.trace(classifier, example), buffer)
        return buffer.getvalue(), torch.jit.load(io.BytesIO(buffer.getvalue()))
