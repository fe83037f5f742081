"""Types of arguments: what each takes, and how it names what it refuses."""

import argparse

import pytest

from mman.cli import arguments as cli


@pytest.mark.parametrize(
    ('kind', 'text', 'value'),
    [(cli.at_least(2), '2', 2), (cli.gib, '0.5', 0.5), (cli.device, 'cpu', 'cpu')],
)
def test_a_value(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ('kind', 'text', 'message'),
    [
        *((cli.at_least(2), text, 'should be an integer from 2 on') for text in ('1', 'many')),
        *((cli.gib, text, 'should be a number of GiB above 0') for text in ('0', 'nan', 'much')),
        (cli.device, 'abacus', 'cannot be used here'),
        (cli.folder, 'setup.py', 'is a file; it should be a folder'),
    ],
)
def test_a_value_that_is_refused(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=f'{text!r} {message}'):
        kind(text)


@pytest.mark.parametrize('option', ['--out', '--csv'])
def test_results_overwrite_nothing(tmp_path, capsys, option):
    parser = argparse.ArgumentParser()
    cli.add_result_arguments(parser, need_picture=False)
    path = tmp_path / ('a.png' if option == '--out' else 'a.csv')
    assert not any(vars(parser.parse_args([])).values())
    parser.parse_args([option, str(path)])
    path.write_text('kept')
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args([option, str(path)])
    assert f'{str(path)!r} exists already' in capsys.readouterr().err
