"""Make every picture of the documentation: ``make figures``.

The tools are run as the pages tell, on short trainings on scikit-learn's digits, which take some
minutes on a CPU and are kept in work_dirs/figures; costs.svg comes from the records.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import costs

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
RUNS = 'work_dirs/figures'
CONFIG = 'configs/man/resnet20_k10_digits.py'
#: Name of a run -> its config. BP is drawn beside the other only.
TRAININGS = dict(man=CONFIG, bp='configs/bp/resnet20_digits.py')
MODEL = f'{CONFIG} {RUNS}/man/epoch_20.pth'
GRID = '--methods greedy dgl man --seeds 0 1 --no-time --cfg-options train_cfg.max_epochs=5'
#: Name of a picture -> the tool that draws it, and its arguments but --out.
TOOLS = {
    'plan': f'analysis_tools/plan_memory.py {CONFIG} --batch 64',
    'samples': f'visualization/browse_samples.py {CONFIG} --images 10',
    'lr': f'visualization/lr_curve.py {CONFIG}',
    'curves': f'analysis_tools/training_curves.py {RUNS}/man {RUNS}/bp',
    'losses': f'analysis_tools/block_losses.py {RUNS}/man',
    'probe': f'analysis_tools/linear_probe.py {MODEL}',
    'cka': f'analysis_tools/cka.py {MODEL}',
    'exits': f'analysis_tools/early_exit.py {MODEL}',
    'maps': f'visualization/feature_maps.py {MODEL} {RUNS}/digit.png --blocks 0 3 6',
}
COMPARISON = 'analysis_tools/compare_methods.py benchmarks/comparisons/digits_resnet20.py'


def run(command: str) -> None:
    """Run a tool at the root of the repository; its output is shown."""
    tool, *arguments = shlex.split(command)
    subprocess.run([sys.executable, f'tools/{tool}', *arguments], cwd=ROOT, check=True)


def write_digit(path: Path) -> None:
    """Write the first digit of the test set, a picture of 8 x 8 pixels."""
    from mmcv.image import imwrite

    from mman.datasets import Digits

    imwrite(Digits('test', pipeline=[])[0]['img'], str(path))


def main() -> None:
    """Make them all, in place of old ones."""
    for name, config in TRAININGS.items():
        if not Path(ROOT, RUNS, name, 'epoch_20.pth').exists():
            run(f'train.py {config} --seed 0 --work-dir {RUNS}/{name}')
    run(f'{COMPARISON} --work-dir {RUNS}/comparison {GRID}')
    shutil.copy(Path(ROOT, RUNS, 'comparison', 'comparison.png'), FOLDER)
    write_digit(Path(ROOT, RUNS, 'digit.png'))
    for name, command in TOOLS.items():
        picture = FOLDER / f'{name}.png'
        picture.unlink(missing_ok=True)
        run(f'{command} --out {picture}')
    costs.draw(FOLDER / 'costs.svg')


if __name__ == '__main__':
    main()
