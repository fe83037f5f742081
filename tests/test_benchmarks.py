"""The commands in benchmarks/ on tiny settings: their records and what follows from them."""

import json
import sys
from statistics import median

import pytest

from tests.helpers.run_tool import call_tool, one_error


def run(name, *args):
    """Run a benchmark in this process, its neighbours imported anew."""
    result = call_tool(f'../benchmarks/{name}', *args)
    sys.modules.pop('common', None)
    return result


def record_of(name, out, *args):
    """The raw output of a benchmark, and the cells of the table that it prints."""
    result = run(name, *args, '--out', out)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith('| ')]
    cells = [line.strip('| ').split('|') for line in lines if '---' not in line]
    cells = [[cell.strip() for cell in line] for line in cells]
    return json.loads(out.read_text()), cells


@pytest.mark.full
def test_memory_predicts_and_measures_every_variant(tmp_path):
    names = ['bp', 'man']
    raw, (headings, *rows) = record_of(
        'memory.py',
        tmp_path / 'memory.json',
        *('resnet32_k16', '--batch', 4, '--how', 'fake', 'real', '--only', *names[1:]),
    )
    assert raw['settings']['batch'] == 4 and 'memory.py' in raw['command']
    records = raw['records']
    assert [record['variant'] for record in records] == names
    plain = records[0]['peak_bytes']
    for record, row in zip(records, rows, strict=True):
        blocks = len(record['ends'])
        assert blocks == (16 if record['variant'] == 'man' else 1)
        assert len(record['prediction']['blocks']) == blocks
        peaks = record['peak_bytes']
        assert peaks['fake'] == max(block['peak'] for block in record['prediction']['blocks'])
        assert record['prediction']['parameters'] == 4 * record['parameters']
        assert record['ratio'] == {how: peaks[how] / plain[how] for how in ('fake', 'real')}
        assert len(row) == len(headings)
        assert row[:4] == [
            'resnet32_k16',
            record['variant'],
            str(blocks),
            f'{peaks["fake"] / 2**20:.1f}',
        ]
        assert row[-1] == f'{100 * (peaks["fake"] / peaks["real"] - 1):+.2f} %'


@pytest.mark.full
def test_memory_counts_all_parts_of_a_batch_both_memories_and_every_phase(tmp_path):
    only = ['bp-accumulate4', 'bp-cpu', 'greedy']
    orders = ['joint', 'single', 'cached']
    raw, (headings, *rows) = record_of(
        'memory.py',
        tmp_path / 'memory.json',
        *('resnet32_k16', '--batch', 16, '--how', 'fake', 'real'),
        *('--order', *orders, '--only', *only),
    )
    bp, parts, cpu, greedy, single, cached = raw['records']
    phases = [f'greedy/one at a time{words}' for words in ('', ', cached')]
    assert [one['variant'] for one in raw['records']] == ['bp', *only, *phases]
    assert bp['multiply_adds'] == parts['multiply_adds'] == cpu['multiply_adds']
    assert len(greedy['ends']) == 16 and greedy['multiply_adds'] < bp['multiply_adds']
    peaks = [one['peak_bytes'] for one in raw['records']]
    assert all(one['real'] == pytest.approx(one['fake'], rel=0.02) for one in peaks)
    for one, row in zip(raw['records'], rows, strict=True):
        total = one['peak_bytes']['fake'] + one['host_bytes']
        assert row[4] == f'{total / bp["peak_bytes"]["fake"]:.3f}'
    assert parts['peak_bytes']['fake'] < bp['peak_bytes']['fake']
    assert cpu['host_bytes'] > 0 == greedy['host_bytes']
    # Features of the blocks before come from a cache, or are computed anew in every phase.
    assert cached['multiply_adds'] == greedy['multiply_adds'] < single['multiply_adds']
    assert len(single['peaks']) == 16 and cached['peak_bytes']['fake'] == max(cached['peaks'])


@pytest.mark.full
def test_time_gives_each_variant_a_time_a_round(tmp_path):
    names = [
        'bp',
        'bp-accumulate2',
        'infopro/cross_entropy',
        'man',
        'man/decoder=resize_first',
    ]
    raw, (headings, *rows) = record_of(
        'time.py',
        tmp_path / 'time.json',
        *('--batch', 4, '--rounds', 2, '--threads', 1, '--clock', 'process', '--only', *names[1:]),
    )
    records = raw['records']
    assert [record['variant'] for record in records] == names
    assert raw['device']['threads'] == 1
    ends = records[2]['ends']
    assert len(ends) == 15
    plain = median(records[0]['seconds'])
    for record, row in zip(records, rows, strict=True):
        assert record['ends'] == (['3.4'] if record['variant'].startswith('bp') else ends)
        assert len(record['seconds']) == 2 and min(record['seconds']) == record['min'] > 0
        assert record['median'] == median(record['seconds'])
        assert record['ratio'] == record['median'] / plain
        assert record['images_per_second'] == pytest.approx(4 / record['median'])
        assert record['peak_bytes'] is None
        assert len(row) == len(headings)
        assert row[1] == record['variant'] and row[6] == f'{record["ratio"]:.3f}'
        assert row[8] == str(record['operations'])
    # Without views and allocations: 33 convolutions and BatchNorms forward and backward, and their
    # counters, 31 ReLUs forward and backward, 16 sums of branches and gradients each; the rest is
    # preprocessing, head, optimizer and log.
    assert 0 < records[0]['operations'] - (5 * 33 + 2 * 31 + 2 * 15) < 40
    # A batch in two parts goes forward and backward twice, and adds up 33 + 2 * 33 + 2 gradients.
    assert abs(records[1]['operations'] - 2 * records[0]['operations'] - 101) < 20
    # The two differ in nothing that has weights.
    assert records[3]['parameters'] == records[4]['parameters'] > records[2]['parameters']


@pytest.mark.parametrize(
    'command', [['memory.py', 'resnet32_k16'], ['time.py']], ids=['memory', 'time']
)
def test_a_file_that_exists_is_refused(tmp_path, command):
    out = tmp_path / 'old.json'
    out.write_text('kept')
    result = run(*command, '--out', out)
    one_error(result, f"argument --out: '{out}' exists already and is not overwritten")
    assert out.read_text() == 'kept'


def test_a_variant_that_there_is_not_is_refused():
    result = run('time.py', '--only', 'mann')
    one_error(result, "--only 'mann' should be one of bp, bp/recompute=block, bp-accumulate2")


def test_data_path_counts_the_same_images_both_ways(tmp_path):
    raw, (headings, *rows) = record_of(
        'data_path.py',
        tmp_path / 'data.json',
        *('--images', 64, '--batch', 32, '--rounds', 2, '--workers', 0),
    )
    records = raw['records']
    assert len(records) == len(rows) == 4
    assert {(r['path'], r['stage']) for r in records} == {
        (path, stage)
        for path in ('per image', 'in memory')
        for stage in ('loader', 'loader + preprocessor')
    }
    assert all(len(r['seconds']) == 2 and min(r['seconds']) > 0 for r in records)
    assert all(len(row) == len(headings) for row in rows)


@pytest.mark.full
@pytest.mark.dist
def test_a_pipeline_is_held_against_its_slowest_stage(tmp_path):
    arguments = ('--kinds', 'slept', '--stages', 2, '--iterations', 2, '--seconds', 0.05)
    raw, (_, *rows) = record_of('pipeline.py', tmp_path / 'pipeline.json', *arguments)
    took = {record['name']: median(record['times']) / 0.05 for record in raw['records']}
    assert list(took) == ['no momentum', 'post_step', 'pre_step', 'naive order']
    # A stage sleeps at least so long.
    assert all(len(r['times']) == 2 and took[r['name']] >= 1 for r in raw['records'])
    assert [row[-1] for row in rows] == [f'{t:.3f} x the slowest stage' for t in took.values()]
