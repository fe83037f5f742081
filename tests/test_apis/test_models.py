"""mman.apis.models: weights that fit, and files that do not."""

import re

import pytest
import torch

from mman.apis.models import load_weights
from mman.utils.errors import UserError
from tests.helpers.settings import build_model

pytestmark = pytest.mark.usefixtures('loading_state')


def test_a_checkpoint_of_several_processes(tmp_path):
    saved, model = build_model(), build_model('manpp').eval()
    state = {f'module.{key}': value + 1 for key, value in build_model('manpp').state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    load_weights(model, str(tmp_path / 'a.pth'))
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[f'module.{key}'])
    torch.save(saved.state_dict(), tmp_path / 'b.pth')
    with pytest.raises(UserError, match='lacks aux_heads'):
        load_weights(model, str(tmp_path / 'b.pth'), aux_heads=True)


@pytest.mark.parametrize(
    ('content', 'named'),
    [([1, 2], "has no 'state_dict'"), (dict(b=torch.ones(1)), 'does not fit')],
)
def test_a_file_that_is_no_checkpoint(tmp_path, content, named):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=named):
        load_weights(build_model(), str(tmp_path / 'a.pth'))


@pytest.mark.parametrize(
    'change', [torch.Tensor.to_sparse, lambda p: p * 1j], ids=['sparse', 'complex']
)
def test_weights_of_another_kind_change_nothing(tmp_path, change):
    model, state = build_model(), build_model().state_dict()
    name = [name for name in state if name.endswith('weight')][-1]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    changed = {key: value + 1 for key, value in state.items()} | {name: change(state[name])}
    torch.save(dict(state_dict=changed), tmp_path / 'a.pth')
    with pytest.raises(UserError, match=f'has misshapen {re.escape(name)}'):
        load_weights(model, tmp_path / 'a.pth')
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
