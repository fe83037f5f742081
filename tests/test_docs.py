"""The documentation: its code runs, its commands parse, its links and messages are there."""

import argparse
import ast
import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

from mman.analysis.baselines import BASELINES
from mman.cli.main import main
from mman.models.splitters.presets import PRESETS
from mman.registry import DATASETS, MODELS, TASK_UTILS, UNIT_ADAPTERS
from tests.helpers import pages
from tests.helpers.pages import DOCS, PAGES, README, ROOT, page_id

TESTED = [DOCS / 'getting_started.md', DOCS / 'splits.md', *sorted((DOCS / 'howto').glob('*.md'))]
TEXTS = [README, *PAGES]
FOLDERS = sorted(
    path for folder in ('configs', 'projects') for path in (ROOT / folder).glob('*/README.md')
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder like the root of the repository, where a page's commands may write."""
    for name in ('configs', 'projects'):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    for registry in (DATASETS, MODELS, TASK_UTILS, UNIT_ADAPTERS):
        monkeypatch.setattr(registry, '_module_dict', dict(registry.module_dict))
    yield tmp_path
    for name in [name for name in sys.modules if name.split('.')[0] == 'my_project']:
        del sys.modules[name]


def run(line, monkeypatch, capfd):
    """Run `mman COMMAND ...` or `python FILE` in this process; what it printed."""
    program, *args = pages.arguments(line)
    monkeypatch.setattr(sys, 'argv', [program, *args] if program == 'mman' else args)
    code = 0
    try:
        main() if program == 'mman' else runpy.run_path(args[0], run_name='__main__')
    except SystemExit as stop:
        code = stop.code or 0
    output = ''.join(capfd.readouterr())
    assert code == 0, output
    return output


# Of the pages that train one is enough for the fast tier.
FAST = [DOCS / 'splits.md', DOCS / 'howto' / 'custom_splitter.md']


@pytest.mark.parametrize(
    'page',
    [*FAST, *(pytest.param(page, marks=pytest.mark.full) for page in TESTED if page not in FAST)],
    ids=page_id,
)
def test_a_page_does_what_it_says(page, root, monkeypatch, capfd):
    files = pages.files_of(page)
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    outputs = [
        run(line, monkeypatch, capfd)
        for line in pages.shell_lines(page)
        if line.startswith(('mman ', 'python '))
    ]
    assert outputs
    for name in files:
        if '_base_ = ' in files[name]:
            assert any(name in line for line in pages.shell_lines(page)), f'{name} is not run'
    names = {}
    for snippet in pages.snippets_of(page):
        exec(snippet, names)
    printed = ''.join(outputs)
    for block in pages.blocks(page, 'text'):
        for line in block.splitlines():
            assert line in printed, f'{line!r} was not printed'


def parser_of(tool):
    """A tool's parser that checks options and their number, not their values."""
    parser = runpy.run_path(str(ROOT / tool))['build_parser']()
    for action in parser._actions:
        action.type = action.choices = None
    return parser


CALLS = [(page, *call) for page in [*TEXTS, *FOLDERS] for call in pages.tool_calls(page)]


@pytest.mark.parametrize('tool', sorted({tool for _, tool, _ in CALLS}))
def test_commands_parse(tool, monkeypatch):
    calls = [(page, args) for page, name, args in CALLS if name == tool]
    if tool == 'tools/misc/collect_env.py':
        assert not any(args.strip() for _, args in calls)
        return
    monkeypatch.setattr(sys, 'path', [str((ROOT / tool).parent), *sys.path])
    parser = parser_of(tool)
    parser.exit_on_error = False
    for page, args in calls:
        words = pages.arguments(args)
        if not words:
            continue  # the text names the tool only
        try:
            _, unknown = parser.parse_known_args(words)
        except (argparse.ArgumentError, SystemExit) as error:
            pytest.fail(f'{page_id(page)}: {tool} {args}: {error}')
        assert not unknown, f'{page_id(page)}: {tool} {args}: {unknown}'


def test_there_are_commands_to_parse():
    assert len(CALLS) > 80
    assert {page for page, *_ in CALLS} >= {README, DOCS / 'papers.md', *TESTED, *FOLDERS}
    # A user has the commands; one sentence says what they are.
    texts = ''.join(page.read_text() for page in [*TEXTS, *FOLDERS])
    assert re.findall(r'python tools/\S+\.py', texts) == ['python tools/train.py']


@pytest.mark.parametrize('page', TEXTS, ids=page_id)
def test_paths_exist(page):
    own = pages.files_of(page)
    text = page.read_text()
    pattern = r'(?<![\w/.])((?:configs|tools|tests|projects|benchmarks|mman|docs)/[\w./{},*-]+)'
    for found in re.findall(pattern, text):
        path = found.rstrip('.,')
        written = path in own or 'my_' in path or '_birds' in path or '_build' in path
        if written or set(path) & set('{}*'):
            continue
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize('page', TEXTS, ids=page_id)
def test_links_lead_somewhere(page):
    for target in pages.links(page):
        name, _, anchor = target.partition('#')
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in pages.anchors(path), target


def test_every_page_is_in_the_site():
    listed = set()
    for index in (DOCS / 'index.md', DOCS / 'api' / 'index.md'):
        for block in re.findall(r'```\{toctree\}\n(.*?)```', index.read_text(), re.DOTALL):
            names = [line for line in block.split('\n') if line and not line.startswith(':')]
            assert len(names) == len(set(names))
            listed |= {(index.parent / f'{name}.md').resolve() for name in names}
    assert listed == set(PAGES) - {DOCS / 'index.md'}


def extension(name):
    """A module of docs/_ext."""
    spec = importlib.util.spec_from_file_location(name, DOCS / '_ext' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outside_links():
    return extension('outside_links').without_outside_links


@pytest.mark.parametrize(
    ('text', 'expected', 'warned'),
    [
        ('see [the tool](../tools/train.py).', 'see the tool (`tools/train.py`).', 0),
        ('[README](../README.md#measured)', 'README (`README.md`)', 0),
        ('[benchmarks/](../benchmarks)', '`benchmarks`', 0),
        ('[`train.py`](../tools/train.py)', '`tools/train.py`', 0),
        ('[page](./memory.md#x) and [b](data.md)', '[page](./memory.md#x) and [b](data.md)', 0),
        (
            '[up](https://arxiv.org/a) `[t](../tools)`',
            '[up](https://arxiv.org/a) `[t](../tools)`',
            0,
        ),
        ('```\n[t](../tools)\n```\n[tools](../tools)', '```\n[t](../tools)\n```\n`tools`', 0),
        ('[gone](../tools/gone.py)', 'gone (`tools/gone.py`)', 1),
    ],
)
def test_links_out_of_the_site_become_paths(text, expected, warned):
    warnings = []
    assert outside_links()(text, DOCS, warnings.append) == expected
    assert len(warnings) == warned


def test_a_page_in_a_folder_leads_out_by_two_steps():
    outside = outside_links()
    assert outside('[t](../../tools/test.py)', DOCS / 'howto', print) == 't (`tools/test.py`)'
    assert outside('[t](../memory.md)', DOCS / 'howto', print) == '[t](../memory.md)'


def test_docstrings_are_read_as_plain_text():
    plain = extension('plain_docstrings')
    assert plain.without_emphasis('Output, (N, *shape).') == r'Output, (N, \*shape).'
    for line in (
        '    *inputs (Tensor): Its inputs.',
        'as ``(N, *shape)``',
        '**kwargs: keys',
        '2 * 3',
    ):
        assert plain.without_emphasis(line) == line
    assert plain.without_numbering('num_blocks (int): K.') == r'num_blocks (int): \K.'
    assert plain.without_numbering('index (int): Its number.') == 'index (int): Its number.'
    lines = ['class indices (N,), or scores', '', ':type: Labels']
    assert plain.with_whole_summary(lines)[0] == 'Labels: class indices (N,), or scores'
    assert plain.with_whole_summary(['The labels.']) == ['The labels.']


def test_the_table_of_splits_is_that_of_the_code():
    rows = re.findall(
        r'^\| (?:`([\w-]+)` )?\| (\d+) \| ([\d. ]+) \|$', _page('splits'), re.MULTILINE
    )
    found, preset = {}, None
    for name, num_blocks, ends in rows:
        preset = name or preset
        found.setdefault(preset, {})[int(num_blocks)] = ends
    assert found == {name: table for name, (_, table) in PRESETS.items()}


def _page(name):
    return (DOCS / f'{name}.md').read_text()


def messages():
    """Every text in the code, what is filled in replaced by an ellipsis."""
    for folder in ('mman', 'tools'):
        for path in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield ''.join(
                        part.value if isinstance(part, ast.Constant) else '…'
                        for part in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


@pytest.mark.parametrize('page', ['errors', 'splits'])
def test_quoted_messages_are_in_the_code(page):
    text = '\n'.join(messages())
    _, _, table = _page(page).partition('| message |')
    quoted = re.findall(r'^\| `([^`]+)` \|', table, re.MULTILINE)
    assert len(quoted) > 10
    missing = [message for message in quoted if message not in text]
    assert not missing


def test_published_figures_are_quoted_consistently():
    """Published figures beside our own are those of the page on papers, and marked as published."""
    page = _page('papers')
    assert 'None of the figures on this page has been\nreproduced here' in page
    sentence = re.search(r'Published test errors.*?\n\n', _page('results'), re.DOTALL)[0]
    for figure in re.findall(r'\d+\.\d+', sentence):
        assert figure in page, figure


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= 950


@pytest.mark.full
def test_the_readme_trains_and_predicts(root):
    (snippet,) = pages.snippets_of(README)
    assert len(snippet.split('\n')) <= 12
    image = np.load(ROOT / 'tests' / 'data' / 'cifar10_16px.npy')[1]
    Image.fromarray(image.repeat(8, axis=0).repeat(8, axis=1)).save('photo.png')
    printed = []
    exec(snippet, {'print': printed.append})
    assert printed == ['airplane']
    assert Path('work_dirs/python/epoch_5.pth').is_file()


# Columns of the tables of the page on results: file in benchmarks/records, and case in it.
MEMORY = [
    ('2026-11-21-memory-methods/resnet32.json', 'resnet32_k16'),
    ('2026-11-27-memory-batch/resnet32-batch32.json', 'resnet32_k16'),
    ('2026-11-21-memory-methods/resnet110.json', 'resnet110_k55'),
    ('2026-11-27-memory-batch/resnet110-batch32.json', 'resnet110_k55'),
    ('2026-11-21-memory-methods/imagenet.json', 'resnet101_k2'),
    ('2026-11-27-memory-batch/resnet50-batch128.json', 'resnet50_k2'),
]
TIME = [
    ('2026-11-27-time-k16/resnet32-k16.json', 'resnet32_k16'),
    ('2026-11-21-time/resnet32-contiguous.json', 'resnet32_k15-release'),
    ('2026-11-21-time/resnet110.json', 'resnet110_k55'),
    ('2026-11-27-time-k16/resnet110-k55.json', 'resnet110_k55'),
]
VARIANTS = {
    'BP': 'bp',
    'BP + checkpointing': 'bp/recompute=block',
    'greedy': 'greedy',
    'DGL': 'dgl',
    'MAN': 'man',
    "MAN, `recompute='block'`": 'man/recompute=block',
    "MAN, `recompute='all'`": 'man/recompute=all',
}


def _recorded(file, case):
    records = json.loads((ROOT / 'benchmarks' / 'records' / file).read_text())['records']
    return {record['variant']: record for record in records if record['case'] == case}


def _rows(heading):
    """First cell -> the others, of the table under a heading of the page on results."""
    text = _page('results').partition(f'### {heading}\n')[2].partition('\n#')[0]
    cells = [line.strip('|').split(' | ') for line in text.splitlines() if line.startswith('| ')]
    return {first.strip(): [cell.strip(' |') for cell in rest] for first, *rest in cells[1:]}


def test_the_table_of_memory_is_that_of_the_records():
    rows = _rows('Memory')
    assert len(rows) == 6
    for name, cells in rows.items():
        for cell, place in zip(cells, MEMORY, strict=False):
            if cell:
                found = _recorded(*place)
                peaks = [found[v]['peak_bytes']['fake'] for v in (VARIANTS[name], 'bp')]
                assert cell == f'{peaks[0] / peaks[1]:.3f}', (name, place)


def test_the_table_of_time_is_that_of_the_records():
    rows = _rows('Time')
    assert len(rows) == 7
    for name, (*ratios, operations) in rows.items():
        for cell, place in zip(ratios, TIME[:-1], strict=True):
            found = _recorded(*place)
            times = [median(found[variant]['seconds']) for variant in (VARIANTS[name], 'bp')]
            assert float(cell) == pytest.approx(times[0] / times[1], abs=0.0051), (name, place)
        counted = _recorded(*TIME[-1])[VARIANTS[name]]['operations']
        assert operations == f'{counted:,}'


def test_the_table_of_the_ways_of_bp_is_that_of_the_record():
    ways = {one.words: one.name for one in BASELINES}
    rows = _rows('Time of what BP can do')
    assert len(rows) == 11
    for name, cells in rows.items():
        words = re.sub(r'in (\d) parts', r', batch in \1 parts', name).replace(' ,', ',')
        variant = VARIANTS.get(name) or ways[words.replace(' + checkpointing', ', recompute block')]
        for cell, batch in zip(cells, (32, 128), strict=True):
            file = f'2026-11-30-time-baselines/resnet32-batch{batch}.json'
            found = _recorded(file, 'resnet32_k16')
            times = [median(found[which]['seconds']) for which in (variant, 'bp')]
            assert cell == f'{times[0] / times[1]:.2f}', (name, batch)


def test_the_ratio_in_the_readme_is_that_of_the_table():
    (ratio,) = re.findall(r'([\d.]+) times as long as BP', README.read_text())
    assert ratio == f'{float(_rows("Time")["MAN"][0]):.1f}'


FIGURES = DOCS / 'figures'


@pytest.fixture
def figures(monkeypatch):
    """What docs/figures/make_figures.py defines."""
    monkeypatch.syspath_prepend(str(FIGURES))
    return runpy.run_path(str(FIGURES / 'make_figures.py'))


def test_every_picture_is_small_shown_and_made(figures):
    pictures = [path for path in FIGURES.iterdir() if path.suffix in ('.png', '.svg')]
    assert sum(path.stat().st_size for path in pictures) < 1.5 * 2**20
    shown = {(page.parent / target).resolve() for page in TEXTS for target in pages.links(page)}
    assert set(pictures) <= shown
    # The sketch of a block is drawn by hand.
    made = {f'{name}.png' for name in figures['TOOLS']} | {'comparison.png', 'costs.svg'}
    assert {path.name for path in pictures} == made | {'block.svg'}


def test_the_commands_of_the_pictures_parse(figures, monkeypatch):
    commands = [f'{command} --out new.png' for command in figures['TOOLS'].values()]
    commands.append(f'{figures["COMPARISON"]} --work-dir runs {figures["GRID"]}')
    for command in commands:
        tool, *arguments = command.split()
        monkeypatch.syspath_prepend(str((ROOT / 'tools' / tool).parent))
        _, unknown = parser_of(f'tools/{tool}').parse_known_args(arguments)
        assert not unknown, command


def test_the_chart_is_that_of_the_records(figures, tmp_path):
    """Its marks, not its letters, which another version of matplotlib may shape otherwise."""
    figures['costs'].draw(tmp_path / 'costs.svg')
    found, kept = (
        re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', (folder / 'costs.svg').read_text())
        for folder in (tmp_path, FIGURES)
    )
    assert len(kept) > 40
    assert found == kept
