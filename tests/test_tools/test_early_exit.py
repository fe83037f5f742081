"""tools/analysis_tools/early_exit.py against counts by hand and predictions of the classifier."""

import csv

import pytest
import torch
from PIL import Image

from tests.helpers.converters import error_of, succeeded
from tests.helpers.run_tool import call_tool
from tests.helpers.trained_digits import CONFIG, normalised, pictures, trained_digits

TOOL = 'analysis_tools/early_exit.py'

# ResNet-20 on 8 x 8: convolutions of every stage, shortcuts, classifier; two operations a product.
STAGES = 2 * 9 * (3 * 16 * 64 + 6 * 16 * 16 * 64)
STAGES += 2 * 9 * 16 * (16 * 32 + 5 * 32 * 32) + 2 * 16 * 32 * 16
STAGES += 2 * 9 * 4 * (32 * 64 + 5 * 64 * 64) + 2 * 32 * 64 * 4
WHOLE = STAGES + 2 * 64 * 10
# The stem, the two copies of the next unit, and the classifier; not the decoder.
STEM = 3 * 16 * 9 + 2 * 16
COPIES = 2 * 2 * (16 * 16 * 9 + 2 * 16)
AUX_NET = (16 * 32 + 32 * 32) * 9 + 2 * 2 * 32 + 32 * 128 + 128 + 128 * 10 + 10


@pytest.fixture(scope='module')
def trained():
    return trained_digits()


def test_digits(trained, tmp_path):
    path, model = trained
    table, picture = tmp_path / 'x.csv', tmp_path / 'x.png'
    out = succeeded(call_tool(TOOL, CONFIG, path, '--csv', table, '--out', picture))
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row['block']) for row in rows] == list(range(10))
    assert rows[0]['units'] == 'stem' and rows[-1]['units'] == '3.2'
    assert int(rows[-1]['parameters']) == 272_474
    assert int(rows[0]['parameters']) == STEM + COPIES + AUX_NET
    assert int(rows[-1]['flops']) == WHOLE
    images, labels = pictures()
    with torch.no_grad():
        whole = model(normalised(images)).argmax(1).numpy()
        first = model.aux_heads[0].logits(model.local_blocks[0].layers[0](normalised(images)))
    for row, found in ((rows[-1], whole), (rows[0], first.argmax(1).numpy())):
        assert float(row['accuracy']) == pytest.approx(100 * (found == labels).mean())
    lines = out.strip().splitlines()
    assert len(lines) == 11 and '272,474' in lines[-1] and 'LinearClsHead' in lines[-1]
    with Image.open(picture) as image:
        assert image.size == (1320, 540)
        assert len(set(image.convert('L').get_flattened_data())) > 10


def test_bad_input(trained, tmp_path):
    path, _ = trained
    saved = torch.load(path, weights_only=True)['state_dict']
    plain = {name: v for name, v in saved.items() if not name.startswith('aux_heads.')}
    torch.save(dict(state_dict=plain), tmp_path / 'plain.pth')
    line = error_of(call_tool(TOOL, CONFIG, tmp_path / 'plain.pth'))
    assert 'lacks aux_heads.0' in line
    (tmp_path / 'x.csv').write_text('kept')
    result = call_tool(TOOL, CONFIG, path, '--csv', tmp_path / 'x.csv')
    assert 'not overwritten' in error_of(result)
    assert (tmp_path / 'x.csv').read_text() == 'kept'
