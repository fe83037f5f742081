"""What a config may not ask for, found before anything is built."""

import pytest
from mmengine.config import Config

from mman.apis.config import check_recompute
from mman.utils import UserError


def test_the_other_switch_for_recomputation_is_refused():
    cfg = Config(dict(activation_checkpointing=['layer1']))
    with pytest.raises(UserError, match=r"activation_checkpointing=\['layer1'\].*model.recompute"):
        check_recompute(cfg)
    check_recompute(Config(dict(model=dict(recompute='all'))))
