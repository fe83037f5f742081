"""Make every picture of the documentation: ``make figures``.

The tools are run as the pages tell, on two short trainings on scikit-learn's digits, which takes
some minutes on a CPU; costs.svg comes from the records.
"""

import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import costs

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
CONFIG = 'configs/man/resnet20_k10_digits.py'
#: What the pictures look at; {runs} is a temporary folder. BP is drawn beside it only.
TRAININGS = [
    f'train.py {CONFIG} --seed 0 --work-dir {{runs}}/man',
    'train.py configs/bp/resnet20_digits.py --seed 0 --work-dir {runs}/bp',
]
MODEL = f'{CONFIG} {{runs}}/man/epoch_20.pth'
GRID = 'benchmarks/comparisons/digits_resnet20.py --methods greedy dgl man --seeds 0 1 --no-time'
#: Name of a picture -> the tool that draws it, and its arguments but --out.
TOOLS = {
    'plan': f'analysis_tools/plan_memory.py {CONFIG} --batch 64',
    'samples': f'visualization/browse_samples.py {CONFIG} --images 18',
    'lr': f'visualization/lr_curve.py {CONFIG}',
    'curves': 'analysis_tools/training_curves.py {runs}/man {runs}/bp',
    'losses': 'analysis_tools/block_losses.py {runs}/man',
    'probe': f'analysis_tools/linear_probe.py {MODEL}',
    'cka': f'analysis_tools/cka.py {MODEL}',
    'exits': f'analysis_tools/early_exit.py {MODEL}',
    'maps': f'visualization/feature_maps.py {MODEL} {{runs}}/digit.png --blocks 0 3 6',
}
COMPARISON = f'analysis_tools/compare_methods.py {GRID} --work-dir {{runs}}/comparison'


def run(command: str, runs: str) -> None:
    """Run a tool at the root of the repository; its output is shown."""
    tool, *arguments = shlex.split(command.format(runs=runs))
    subprocess.run([sys.executable, f'tools/{tool}', *arguments], cwd=ROOT, check=True)


def write_digit(path: Path) -> None:
    """Write the first digit of the test set, a picture of 8 x 8 pixels."""
    from mmcv.image import imwrite

    from mman.datasets import Digits

    imwrite(Digits('test', pipeline=[])[0]['img'], str(path))


def main() -> None:
    """Make them all; old ones are replaced at the end."""
    with TemporaryDirectory() as runs:
        for command in (*TRAININGS, COMPARISON):
            run(command, runs)
        write_digit(Path(runs, 'digit.png'))
        for name, command in TOOLS.items():
            run(f'{command} --out {{runs}}/{name}.png', runs)
        pictures = {name: Path(runs, f'{name}.png') for name in TOOLS}
        pictures['comparison'] = Path(runs, 'comparison', 'comparison.png')
        for name, picture in pictures.items():
            (FOLDER / f'{name}.png').write_bytes(picture.read_bytes())
    costs.draw(FOLDER / 'costs.svg')


if __name__ == '__main__':
    main()
