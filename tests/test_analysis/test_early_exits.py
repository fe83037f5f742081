"""mman.analysis.early_exits against counts by hand and predictions of the classifier."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mman.analysis.early_exits import (
    draw_exits,
    exit_accuracies,
    exit_costs,
    exit_table,
    measure_exits,
    write_exits,
)
from mman.apis import config_path, load_config
from mman.utils import UserError
from tests.helpers.look_inside import picture_size
from tests.helpers.tables import cells, csv_rows
from tests.helpers.trained_digits import CONFIG, normalised, pictures, trained_digits

# ResNet-20 on 8 x 8: convolutions of every stage, shortcuts, classifier; multiply-adds.
STAGES = 9 * (3 * 16 * 64 + 6 * 16 * 16 * 64)
STAGES += 9 * 16 * (16 * 32 + 5 * 32 * 32) + 16 * 32 * 16
STAGES += 9 * 4 * (32 * 64 + 5 * 64 * 64) + 32 * 64 * 4
WHOLE = STAGES + 64 * 10
# The stem, the two copies of the next unit, and the classifier; not the decoder.
STEM = 3 * 16 * 9 + 2 * 16
COPIES = 2 * 2 * (16 * 16 * 9 + 2 * 16)
AUX_NET = (16 * 32 + 32 * 32) * 9 + 2 * 2 * 32 + 32 * 128 + 128 + 128 * 10 + 10


def test_digits(tmp_path):
    _, model = trained_digits()
    results = measure_exits(load_config(config_path(CONFIG)), model)
    write_exits(tmp_path / 'x.csv', results)
    rows = csv_rows(tmp_path / 'x.csv')
    assert [int(row['block']) for row in rows] == list(range(10))
    assert rows[0]['units'] == 'stem' and rows[-1]['units'] == '3.2'
    assert int(rows[-1]['parameters']) == 272_474
    assert int(rows[0]['parameters']) == STEM + COPIES + AUX_NET
    assert int(rows[-1]['multiply_adds']) == WHOLE
    assert {row['image_shape'] for row in rows} == {'3 x 8 x 8'}
    images, labels = pictures()
    with torch.no_grad():
        whole = model(normalised(images)).argmax(1).numpy()
        first = model.aux_heads[0].logits(model.local_blocks[0].layers[0](normalised(images)))
    for row, found in ((rows[-1], whole), (rows[0], first.argmax(1).numpy())):
        assert float(row['accuracy']) == pytest.approx(100 * (found == labels).mean())
    table = exit_table(results)
    assert 'test images of 3 x 8 x 8' in table
    last = cells(table)[-1]
    assert (last['parameters'], last['classifier']) == ('272,474', 'LinearClsHead')
    assert last['multiply-adds [M]'] == f'{WHOLE / 1e6:.2f}'
    draw_exits(tmp_path / 'x.png', results, 'exits')
    assert picture_size(tmp_path / 'x.png') == (1320, 540)


def test_costs_are_of_the_images_that_are_tested():
    _, model = trained_digits()
    # Maps of twice the side have four times the pixels; the classifier sees their mean.
    _, cost = exit_costs(model, 9, (3, 16, 16))
    assert cost == 4 * STAGES + 64 * 10
    sizes = [torch.zeros(2, 3, side, side, dtype=torch.uint8) for side in (8, 16)]
    batches = [dict(inputs=x, data_samples=[DataSample().set_gt_label(0)] * 2) for x in sizes]
    accuracies, shape = exit_accuracies(model, batches[1:])
    assert shape == (3, 16, 16) and len(accuracies) == 10
    with pytest.raises(UserError, match=r'several shapes.*\(3, 8, 8\), \(3, 16, 16\)'):
        exit_accuracies(model, batches)
