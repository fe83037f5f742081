"""The workflow and the pre-commit hooks say what .ci/run, pyproject.toml and the Makefile say."""

import os
import re
import tomllib
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / '.github' / 'workflows' / 'ci.yml'
# As text throughout: 'on' and '3.10' would be read as other things.
PYTHONS = ['3.11', '3.12', '3.13']


def read(path):
    """A YAML file, every scalar a string."""
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)


def job():
    """The one job of the workflow."""
    (found,) = read(WORKFLOW)['jobs'].values()
    return found


def test_the_workflow_runs_what_is_run_before_a_merge():
    steps = job()['steps']
    assert [step.get('run') for step in steps] == [None, None, 'PYTHON=python .ci/run']
    actions = [step['uses'].split('@')[0] for step in steps if 'uses' in step]
    assert actions == ['actions/checkout', 'actions/setup-python']
    assert os.access(ROOT / '.ci' / 'run', os.X_OK)
    # make takes PYTHON from the environment.
    assert re.search(r'^PYTHON \?= ', (ROOT / 'Makefile').read_text(), re.M)


def test_every_push_and_pull_request_starts_it_once():
    workflow = read(WORKFLOW)
    assert set(workflow['on']) == {'push', 'pull_request'}
    assert not any(workflow['on'].values())
    assert workflow['concurrency']['cancel-in-progress'] == 'true'
    assert 'github.ref' in workflow['concurrency']['group']
    assert workflow['permissions'] == {'contents': 'read'}
    assert int(job()['timeout-minutes']) <= 120


def test_pythons_agree_with_pyproject():
    matrix = job()['strategy']['matrix']
    assert matrix == {'python': PYTHONS}
    assert job()['steps'][1]['with'] == {'python-version': '${{ matrix.python }}'}
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    classifiers = '\n'.join(project['classifiers'])
    assert re.findall(r'^Programming Language :: Python :: (3\.\d+)$', classifiers, re.M) == PYTHONS
    supported = SpecifierSet(project['requires-python'])
    assert all(python in supported for python in PYTHONS)
    assert '3.10' not in supported


def test_the_workflow_names_no_registry():
    assert not re.search(r'index-url|find-links|https?://', WORKFLOW.read_text())


def test_hooks_run_the_programs_of_the_environment():
    config = read(ROOT / '.pre-commit-config.yaml')
    (repo,) = config['repos']
    assert repo['repo'] == 'local'
    entries = [hook['entry'] for hook in repo['hooks']]
    assert all(entry.startswith('.venv/bin/') for entry in entries)
    assert all(hook['language'] == 'system' for hook in repo['hooks'])
    assert re.search(r'^VENV \?= \.venv$', (ROOT / 'Makefile').read_text(), re.M)
    # Both commands of make lint.
    for command in ('check', 'format'):
        assert any(entry.startswith(f'.venv/bin/ruff {command}') for entry in entries)
    dev = (ROOT / 'requirements' / 'dev.txt').read_text()
    assert re.search(r'^pre-commit>=', dev, re.M) and re.search(r'^pre-commit-hooks>=', dev, re.M)


def test_recorded_data_are_left_as_they_are():
    pattern = re.compile(read(ROOT / '.pre-commit-config.yaml')['exclude'])
    assert pattern.search('benchmarks/records/2026-11-21-digits/summary.txt')
    assert pattern.search('tests/data/golden/README.md')
    for path in ('benchmarks/README.md', 'tests/test_workflow.py', 'mman/registry.py'):
        assert not pattern.search(path)
