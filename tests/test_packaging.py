"""Requirements, licence and metadata agree with each other."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mman

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'


def requirements(name):
    """The requirements of a file, by canonical name."""
    lines = (line.split('#')[0].strip() for line in (REQUIREMENTS / name).read_text().splitlines())
    parsed = [Requirement(line) for line in lines if line]
    found = {canonicalize_name(requirement.name): requirement for requirement in parsed}
    assert len(found) == len(parsed), f'{name} lists a package twice'
    return found


def pins():
    """The exact versions of the tested set."""
    versions = {}
    for name, requirement in requirements('pinned.txt').items():
        (specifier,) = requirement.specifier
        assert specifier.operator == '==' and '*' not in specifier.version, requirement
        assert '+' not in specifier.version, f'{requirement}: a build of one device only'
        versions[name] = specifier.version
    return versions


@pytest.mark.parametrize(
    'name', ['runtime.txt', 'tests.txt', 'docs.txt', 'optional.txt', 'dev.txt']
)
def test_every_requirement_is_pinned_within_its_range(name):
    versions = pins()
    for package, requirement in requirements(name).items():
        assert package in versions, f'{package} of {name} has no pin'
        assert requirement.specifier.contains(versions[package]), (requirement, versions[package])


def test_runtime_gives_ranges():
    for requirement in requirements('runtime.txt').values():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators and '==' not in operators, requirement


def test_one_family_of_openmmlab_packages():
    names = {name for path in REQUIREMENTS.glob('*.txt') for name in requirements(path.name)}
    assert not names & {'mmengine', 'mmengine-lite', 'mmcv', 'mmcv-lite', 'mmpretrain', 'mmcls'}
    assert {'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'} <= names


def test_torch_and_torchvision_fit():
    # Releases go in pairs: torch 2.n comes with torchvision 0.(n + 15).
    versions = pins()
    major, minor, _ = versions['torch'].split('.')
    assert major == '2'
    assert versions['torchvision'].startswith(f'0.{int(minor) + 15}.')


def test_one_install_command_reads_both_files():
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    assert '-r requirements/runtime.txt' in lines
    assert '-c requirements/pinned.txt' in lines


def test_pyproject_reads_files_that_exist():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    assert not any('torch' in name for name in project['build-system']['requires'])
    dynamic = project['tool']['setuptools']['dynamic']
    extras = dynamic['optional-dependencies']
    assert set(extras) == {'tests', 'docs', 'optional'}
    for entry in (dynamic['dependencies'], *extras.values()):
        for path in entry['file']:
            text = (ROOT / path).read_text()
            assert not re.search(r'^\s*-', text, re.M), f'{path}: setuptools reads no pip options'


def test_version_is_told_the_same_everywhere():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert re.fullmatch(r'\d+\.\d+\.\d+(\S+)?', mman.__version__)
    assert citation['version'] == mman.__version__
    assert citation['cff-version'] == '1.2.0'
    assert citation['license'] == 'Apache-2.0'


def test_license_is_the_unchanged_apache_text():
    # The sha256 of the text that the Apache Software Foundation publishes.
    digest = hashlib.sha256((ROOT / 'LICENSE').read_bytes()).hexdigest()
    assert digest == 'cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30'


def test_no_file_names_a_registry():
    files = [*REQUIREMENTS.glob('*.txt'), ROOT / 'requirements.txt', ROOT / 'pyproject.toml']
    for path in [*files, ROOT / 'Makefile', ROOT / '.ci' / 'run']:
        text = path.read_text()
        assert not re.search(r'index-url|find-links|https?://', text), path


def test_no_file_names_a_path_of_one_machine():
    pattern = re.compile(r'(?<![\w.])/(work|root|home/\w+|Users/\w+|tmp/\w+)/')
    folders = ['mman', 'tools', 'tests', 'configs', 'docs', 'projects', 'benchmarks']
    folders += ['.ci', '.github']
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for name in folders for path in (ROOT / name).rglob('*') if path.is_file()]
    suffixes = {'.py', '.md', '.txt', '.toml', '.yml', '.yaml', '.cff', '.sh', '.rst', ''}
    read = [path for path in files if path.suffix in suffixes and path.name != '.git']
    assert len(read) > 20
    for path in read:
        found = pattern.search(path.read_text(encoding='utf-8', errors='replace'))
        assert not found, f'{path}: {found.group()}'
