"""Export a classifier as a program of torch.export or as TorchScript, with any size of batch."""

import argparse
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from new_files import check_place, write_new
from plain_classifier import (
    PlainClassifier,
    add_export_arguments,
    check_equal,
    describe,
    sample_images,
)

from mman import apis
from mman.utils.errors import UserError, one_line_errors

SUFFIXES = dict(export='.pt2', script='.pt')

Run = Callable[[torch.Tensor], torch.Tensor]


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument('checkpoint', type=apis.existing_file, help='of training, or published')
    parser.add_argument('out', help='new file, .pt2 for export and .pt for script')
    parser.add_argument(
        '--how',
        choices=tuple(SUFFIXES),
        default='export',
        help='for torch.export.load, or TorchScript for torch.jit.load [export]',
    )
    add_export_arguments(parser)
    return parser


def exported(classifier: PlainClassifier, example: torch.Tensor) -> tuple[bytes, Run]:
    """A file of torch.export, and the program read back from it."""
    shapes = ({0: torch.export.Dim('batch')},)
    program = torch.export.export(classifier, (example,), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    content = buffer.getvalue()
    return content, torch.export.load(io.BytesIO(content)).module()


def scripted(classifier: PlainClassifier, example: torch.Tensor) -> tuple[bytes, Run]:
    """A file of TorchScript, traced, and the program read back from it."""
    with warnings.catch_warnings():
        # It warns of every shape that Python looks at; the comparison tells whether that matters.
        warnings.simplefilter('ignore')
        program = torch.jit.trace(classifier, example)
        buffer = io.BytesIO()
        torch.jit.save(program, buffer)
        content = buffer.getvalue()
        return content, torch.jit.load(io.BytesIO(content))


def main() -> None:
    """Export, compare, and write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        if Path(args.out).suffix != SUFFIXES[args.how]:
            raise UserError(f'out {args.out!r} should end with {SUFFIXES[args.how]}')
        check_place(args.out)
        cfg = apis.load_config(apis.config_path(args.config), args.cfg_options)
        model = apis.get_model(cfg, args.checkpoint)
        classifier = PlainClassifier(model, args.input == 'pixels').eval()
        images = sample_images(model, args.images, classifier.pixels)
        with torch.no_grad():
            content, run = dict(export=exported, script=scripted)[args.how](classifier, images[:2])
        off = check_equal(run, classifier, images)
        write_new(args.out, content)
        print(describe(classifier, images, off, args.out))


if __name__ == '__main__':
    main()
