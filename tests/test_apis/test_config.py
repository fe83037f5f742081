"""What a config may not ask for, found before anything is built."""

import pytest
from mmengine.config import Config

from mman.apis.config import check_recompute, load_config
from mman.utils import UserError


def test_the_other_switch_for_recomputation_is_refused():
    cfg = Config(dict(activation_checkpointing=['layer1']))
    with pytest.raises(UserError, match=r"activation_checkpointing=\['layer1'\].*model.recompute"):
        check_recompute(cfg)
    check_recompute(Config(dict(model=dict(recompute='all'))))


def test_a_module_that_cannot_be_imported_is_named_in_one_line(tmp_path, monkeypatch):
    """The one that is missing, not the one that asks for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'asking_module.py').write_text('import missing_module\n')
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['asking_module'])\n")
    with pytest.raises(UserError, match="No module named 'missing_module'") as caught:
        load_config('config.py')
    assert '\n' not in str(caught.value) and 'custom_imports' in str(caught.value)
