"""Every tool that looks at a config, a run or a model, once as a user calls it."""

import json

import pytest

from tests.helpers.look_inside import digits_config, picture_size, save_model
from tests.helpers.run_tool import call_tool, one_error
from tests.helpers.trained_digits import write_pictures

ANALYSIS, PICTURES = 'analysis_tools', 'visualization'
MODEL = ['small.py', 'small.pth', '--device', 'cpu']
BP = 'configs/bp/resnet20_digits.py'
CSV, OUT = ['--csv', 'new.csv'], ['--out', 'new.png']
# tool, arguments, what it prints
CALLS = [
    (f'{ANALYSIS}/plan_memory.py', [BP, '--batch', 4, *OUT, *CSV], '| BP (config)'),
    (f'{ANALYSIS}/cka.py', [*MODEL, '--other', *MODEL[:2], *OUT, *CSV], '40 images, 4 x 4 blocks'),
    (f'{ANALYSIS}/linear_probe.py', [*MODEL, *OUT, *CSV], 'The network itself: '),
    (f'{ANALYSIS}/early_exit.py', [*MODEL, *OUT, *CSV], '| LinearClsHead '),
    (f'{ANALYSIS}/training_curves.py', ['run', '--keys', 'loss', *OUT, *CSV], 'run: loss 2 at'),
    (f'{ANALYSIS}/block_losses.py', ['run', *OUT, *CSV], '1 records of 2 blocks up to iter 5'),
    (f'{PICTURES}/feature_maps.py', [*MODEL, 'pictures/000.png', *OUT], 'Maps of 4 blocks'),
    (f'{PICTURES}/browse_samples.py', ['small.py', '--images', 4, *OUT], '4 training images of'),
    (f'{PICTURES}/lr_curve.py', ['small.py', '--epoch-length', 5, *OUT, *CSV], '100 iterations'),
    ('misc/print_split.py', ['small.py'], 'trained parameters: '),
    ('misc/print_config.py', ['small.py'], "splitter=dict(num_blocks=4, strategy='uniform'"),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config, a checkpoint, a picture and what a training logged."""
    folder = tmp_path_factory.mktemp('inputs')
    cfg = digits_config(folder / 'small.py', images=40)
    cfg.test_dataloader.dataset.indices = 40
    cfg.dump(folder / 'small.py')
    save_model(cfg, folder / 'small.pth')
    (folder / 'pictures').mkdir()
    write_pictures(folder / 'pictures', 1)
    (folder / 'run' / '1' / 'vis_data').mkdir(parents=True)
    scalars = json.dumps(dict(loss=2.0, iter=5, step=5))
    (folder / 'run' / '1' / 'vis_data' / 'scalars.json').write_text(f'{scalars}\n')
    losses = json.dumps(dict(epoch=1, iter=5, losses=[2.0, 1.0]))
    (folder / 'run' / '1' / 'block_losses.jsonl').write_text(f'{losses}\n')
    return folder


def placed(folder, tmp_path, args):
    """Arguments with the paths of the inputs, and of new files."""
    news = {'new.png', 'new.csv'}
    return [
        tmp_path / a if a in news else folder / a if (folder / str(a)).exists() else a for a in args
    ]


@pytest.mark.usefixtures('loading_state')
@pytest.mark.parametrize(('tool', 'args', 'printed'), CALLS, ids=[tool for tool, *_ in CALLS])
def test_a_tool_does_its_work(folder, tmp_path, tool, args, printed):
    result = call_tool(tool, *placed(folder, tmp_path, args))
    assert result.returncode == 0, result.stderr
    assert printed in result.stdout
    if 'new.png' in args:
        assert min(picture_size(tmp_path / 'new.png')) > 100
    if 'new.csv' in args:
        assert len((tmp_path / 'new.csv').read_text().splitlines()) > 1


ERRORS = [
    (*CALLS[0][:1], ['absent.py'], ['absent.py', 'existing']),
    (*CALLS[1][:1], [*MODEL], ['--out']),
    (*CALLS[2][:1], ['small.py', 'absent.pth'], ['absent.pth', 'does not exist']),
    (*CALLS[2][:1], ['small.py', 'small.py'], ['small.py', 'checkpoint']),
    (*CALLS[4][:1], ['absent', *OUT], ['absent', 'existing folder']),
    (*CALLS[6][:1], [*MODEL, 'small.py', *OUT], ['small.py', 'cannot be read']),
]


@pytest.mark.usefixtures('loading_state')
@pytest.mark.parametrize(('tool', 'args', 'named'), ERRORS)
def test_a_mistake_ends_in_one_line(folder, tmp_path, tool, args, named):
    one_error(call_tool(tool, *placed(folder, tmp_path, args)), *named)
    assert not list(tmp_path.iterdir())
