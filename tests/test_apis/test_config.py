"""Reading a config file: one line of what is wrong with it, and no needless warnings."""

import sys
from urllib.error import URLError

import pytest

from mman.apis import load_config
from mman.cli.arguments import config_parser
from mman.utils import UserError
from mman.utils.config_names import list_models
from mman.utils.errors import one_line_errors
from mman.validation import read_data

CONFIG = 'configs/bp/resnet20_digits.py'


@pytest.fixture
def written(tmp_path, monkeypatch):
    """``written(name, text)``: a config in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_a_config_that_ends_python(written):
    with pytest.raises(UserError, match=r'cannot be read.*SystemExit: 0 \(ends\.py:2\)'):
        load_config(written('ends.py', 'import sys\nsys.exit(0)\n'))


def test_a_config_that_inherits_itself(written):
    written('mine.py', "_base_ = ['yours.py']\n")
    with pytest.raises(UserError, match=r'is its own _base_: .*yours\.py <- .*mine\.py <- '):
        load_config(written('yours.py', "_base_ = ['mine.py']\n"))


def test_keys_that_are_taken_are_not_warned_of(capsys):
    dataset = 'train_dataloader.dataset'
    options = {'pretrained.checkpoint': 'x', 'custom_hooks': [], f'{dataset}.indices': 7}
    load_config(CONFIG, options | {'default_hooks.checkpoint.save_best': 'auto'})
    assert not capsys.readouterr().err
    load_config(CONFIG, {f'{dataset}.indicess': 7})
    assert f"{dataset}.indicess: the config has no 'indicess' there" in capsys.readouterr().err


def test_names_that_nothing_reads(capsys, written):
    for name in list_models()[::30]:
        load_config(name)
    assert not capsys.readouterr().err
    used = 'lr = 0.3\noptim_wrapper = dict(optimizer=dict(lr=lr))\n'
    load_config(written('used.py', used))
    assert not capsys.readouterr().err
    load_config(written('unused.py', 'lr = 0.3\noptim_wrapper = dict(optimizer=dict(lr=0.1))\n'))
    assert 'nothing reads lr=0.3; optim_wrapper.optimizer.lr is 0.1' in capsys.readouterr().err


def test_modules_that_options_name_are_imported(written):
    config = written('config.py', '')
    written('a_module_of_mine.py', '')
    load_config(config, {'custom_imports.imports': ['a_module_of_mine']})
    assert sys.modules.pop('a_module_of_mine')
    with pytest.raises(UserError, match="custom_imports.*No module named 'missing_module'"):
        load_config(config, {'custom_imports.imports': ['missing_module']})
    with pytest.raises(UserError, match="did you mean 'imports'"):
        load_config(config, {'custom_imports.import': ['a_module_of_mine']})


@pytest.mark.parametrize('value', ["[dict(type='EMAHook',momentum=0.1)]", '[{"type": "EMAHook"}]'])
def test_options_with_dicts(value, capsys):
    parser = config_parser('')
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args(['config.py', '--cfg-options', f'custom_hooks={value}'])
    assert 'set its keys one by one, such as' in capsys.readouterr().err
    name = 'default_hooks.checkpoint.filename_tmpl'
    options = parser.parse_args(['config.py', '--cfg-options', name + '=e_{:03}.pth']).cfg_options
    assert options == {name: 'e_{:03}.pth'}


def test_ctrl_c_ends_in_one_line(capsys):
    with pytest.raises(SystemExit, match='130'), one_line_errors(config_parser('')):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith(': interrupted\n')


def test_data_that_cannot_be_downloaded():
    class Offline:
        @property
        def train_loop(self):
            raise URLError('no network')

    with pytest.raises(UserError, match=r'train_dataloader.*no network.*: put its files into'):
        read_data(Offline(), 'train')
