"""The newest checkpoint that loads is found, and what was passed over is named."""

from types import SimpleNamespace

import pytest
import torch

from mman.apis.train import _last_checkpoint
from mman.utils.errors import UserError
from mman.utils.resume_point import find_resume_point


def save(folder, iteration, name=None, record=False, **entries):
    path = folder / (name or f'iter_{iteration}.pth')
    meta = {'epoch': 1, 'iter': iteration}
    state = {'state_dict': {'w': torch.ones(3)}, 'meta': meta, 'optimizer': {}}
    torch.save(state | entries, path)
    if record:
        (folder / 'last_checkpoint').write_text(str(path))
    return path


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content[:-40])
    return path


def test_an_empty_folder_has_none(tmp_path):
    assert find_resume_point(tmp_path) == (None, [])
    assert find_resume_point(tmp_path / 'absent') == (None, [])


def test_the_recorded_one_is_taken_whatever_else_there_is(tmp_path):
    save(tmp_path, 30)
    damaged(save(tmp_path, 40))
    recorded = save(tmp_path, 20, record=True)
    assert find_resume_point(tmp_path) == (recorded, [])


def test_a_damaged_one_is_passed_over_for_the_newest_other(tmp_path):
    older = save(tmp_path, 100)
    save(tmp_path, 9)
    bad = damaged(save(tmp_path, 110, record=True))
    also_bad = damaged(save(tmp_path, 105))
    found, skipped = find_resume_point(tmp_path)
    assert found == older
    assert [str(path) in text for path, text in zip((bad, also_bad), skipped, strict=True)] == [
        True,
        True,
    ]
    assert all('cannot be read' in text for text in skipped)


def test_a_lost_one_is_passed_over(tmp_path):
    older = save(tmp_path, 1)
    save(tmp_path, 2, record=True).unlink()
    found, (reason,) = find_resume_point(tmp_path)
    assert found == older and 'iter_2.pth' in reason and 'does not exist' in reason


@pytest.mark.parametrize('record', [b'x' * 5000, b'\xff\x00' * 9, b''])
def test_a_damaged_record_is_passed_over(tmp_path, record):
    path = save(tmp_path, 1)
    (tmp_path / 'last_checkpoint').write_bytes(record)
    found, (reason,) = find_resume_point(tmp_path)
    assert found == path
    assert 'last_checkpoint' in reason and 'names' in reason and '\n' not in reason
    path.unlink()
    with pytest.raises(UserError, match='can be resumed: .*last_checkpoint'):
        find_resume_point(tmp_path)


def test_a_passed_over_record_does_not_fail_a_finished_run(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('garbage')
    runner = SimpleNamespace(work_dir=str(tmp_path), _load_from='epoch_1.pth')
    assert _last_checkpoint(runner) == 'epoch_1.pth'


@pytest.mark.parametrize('recorded', [True, False])
def test_one_without_a_count_is_passed_over(tmp_path, recorded):
    older = save(tmp_path, 1)
    for key, value in [('iter', 'x' * 5000), ('iter', -1), ('iter', None), ('epoch', 2.5)]:
        save(tmp_path, 2, record=recorded, meta={'epoch': 1, 'iter': 2, key: value})
        found, (reason,) = find_resume_point(tmp_path)
        assert found == older
        assert f"iter_2.pth' has meta.{key}=" in reason and len(reason) < 300


def test_one_that_was_never_recorded_is_found(tmp_path):
    path = save(tmp_path, 1)
    assert find_resume_point(tmp_path) == (path, [])


def test_weights_alone_are_no_place_to_resume_from(tmp_path):
    path = tmp_path / 'pretrained.pth'
    torch.save({'w': torch.ones(3)}, path)
    found, (reason,) = find_resume_point(tmp_path)
    assert found is None and str(path) in reason and 'no state of a training' in reason
    resumable = save(tmp_path, 5)
    assert find_resume_point(tmp_path).path == resumable


@pytest.mark.parametrize('recorded', [True, False])
def test_nothing_is_started_anew_over_damaged_ones(tmp_path, recorded):
    path = damaged(save(tmp_path, 7, record=recorded))
    with pytest.raises(UserError) as error:
        find_resume_point(tmp_path)
    assert str(path) in str(error.value) and 'Remove them' in str(error.value)
