"""``mman COMMAND ...`` runs the tool of that name, as ``python tools/...`` does."""

import argparse
import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import mman
from mman.utils.errors import one_line_errors

TOOLS = Path(mman.__file__).parent / '.mim' / 'tools'
#: Scripts below ``tools/`` by the name of the command.
COMMANDS = {
    'train': 'train.py',
    'test': 'test.py',
    'predict': 'predict.py',
    'list': 'misc/list_models.py',
    'config': 'misc/print_config.py',
    'split': 'misc/print_split.py',
    'env': 'misc/collect_env.py',
    'plan': 'analysis_tools/plan_memory.py',
    'plan-pipeline': 'analysis_tools/plan_pipeline.py',
    'compare': 'analysis_tools/compare_methods.py',
    'curves': 'analysis_tools/training_curves.py',
    'losses': 'analysis_tools/block_losses.py',
    'exits': 'analysis_tools/early_exit.py',
    'probe': 'analysis_tools/linear_probe.py',
    'cka': 'analysis_tools/cka.py',
    'samples': 'visualization/browse_samples.py',
    'maps': 'visualization/feature_maps.py',
    'schedule': 'visualization/lr_curve.py',
    'export': 'model_converters/export_weights.py',
    'export-onnx': 'model_converters/export_onnx.py',
    'export-torch': 'model_converters/export_torch.py',
    'publish': 'model_converters/publish_model.py',
    'convert-release': 'model_converters/convert_man_release.py',
}


def main() -> None:
    """Run the tool that the first argument names with the other arguments."""
    parser = argparse.ArgumentParser(
        prog='mman',
        description=mman.__doc__.splitlines()[0],
        epilog='\n'.join(['commands:', *_summaries(), '', 'mman COMMAND --help tells more.']),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=mman.__version__)
    parser.add_argument(
        'command', choices=COMMANDS, metavar='COMMAND', help='what to do, see below'
    )
    args = parser.parse_args(sys.argv[1:2] or ['--help'])
    parser.prog = f'mman {args.command}'
    sys.argv = [parser.prog, *sys.argv[2:]]
    with one_line_errors(parser):
        sys.exit(runpy.run_path(str(TOOLS / COMMANDS[args.command]))['main']())


def _summaries() -> Iterator[str]:
    """A line for every command: the first of its tool's docstring."""
    for command, script in COMMANDS.items():
        text = ast.get_docstring(ast.parse((TOOLS / script).read_text()))
        yield f'  {command:<16} {text.splitlines()[0]}'
