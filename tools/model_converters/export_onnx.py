"""Export a classifier as ONNX, with any size of batch, and compare it with torch."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from new_files import write_new
from plain_classifier import (
    PlainClassifier,
    add_export_arguments,
    check_equal,
    describe,
    sample_images,
)

from mman import apis
from mman.utils.errors import UserError, one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument('checkpoint', type=apis.existing_file, help='of training, or published')
    parser.add_argument('out', type=apis.new_file('.onnx'), help='new .onnx file')
    add_export_arguments(parser)
    return parser


def require_packages() -> None:
    """Refuse to start without what writes and runs ONNX.

    Raises:
        UserError: If a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'exporting ONNX needs onnx, onnxruntime and onnxscript: {error}'
        ) from error


def onnx_bytes(classifier: PlainClassifier, example: torch.Tensor) -> bytes:
    """The classifier as one ONNX file, input 'images' and output 'scores'."""
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
        return path.read_bytes()


def onnx_runner(content: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    """What runs an ONNX file with onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return lambda images: torch.from_numpy(session.run(None, {'images': images.numpy()})[0])


def main() -> None:
    """Export, compare, and write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        require_packages()
        cfg = apis.load_config(apis.config_path(args.config), args.cfg_options)
        model = apis.get_model(cfg, args.checkpoint)
        classifier = PlainClassifier(model, args.input == 'pixels').eval()
        images = sample_images(model, args.images, classifier.pixels)
        content = onnx_bytes(classifier, images[:2])
        off = check_equal(onnx_runner(content), classifier, images)
        write_new(args.out, content)
        print(describe(classifier, images, off, args.out))


if __name__ == '__main__':
    main()
