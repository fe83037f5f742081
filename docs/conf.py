"""How Sphinx builds this folder: `make docs`."""

import sys
from pathlib import Path

import mman

sys.path.insert(0, str(Path(__file__).parent / '_ext'))

project = 'mman'
author = 'The mman contributors'
release = mman.__version__
language = 'en'

extensions = [
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'myst_parser',
    # in _ext/
    'outside_links',
    'plain_docstrings',
    'short_references',
]
exclude_patterns = ['_build', '_ext']

# Links to a heading of a page, as other viewers of Markdown make them.
myst_heading_anchors = 4

# Docstrings give the types, in words that a signature has no room for.
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'

# Every reference must lead somewhere, but for the types of other packages.
nitpicky = True
nitpick_ignore = [
    ('py:class', name)
    for name in """
        BaseDataset Config DataLoader DataSample Figure GradScaler Number OptimWrapper
        OptimWrapperDict Optimizer Path Registry Runner Tensor ndarray
        Hook nn.Module nn.Parameter torch.device
    """.split()
]
# Attributes without a docstring of their own.
nitpick_ignore += [('py:attr', name) for name in ('COUNTS', 'SPLITS', 'image_shape', 'num_sources')]
nitpick_ignore_regex = [(r'py:.*', r'(mmcv|mmengine|mmpretrain|torch|torchvision)\..*')]

html_theme = 'alabaster'
html_theme_options = {
    'description': 'Supervised local learning with the Momentum Auxiliary Network',
    'fixed_sidebar': True,
    'page_width': '1100px',
    'sidebar_width': '260px',
    'show_powered_by': False,
}
html_sidebars = {'**': ['about.html', 'searchfield.html', 'navigation.html']}
html_show_copyright = False
