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
    'sphinx_copybutton',
    # in _ext/
    'outside_links',
    'plain_docstrings',
    'short_references',
]
exclude_patterns = ['_build', '_ext', '_static']

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
        Axes Hook ProcessGroup nn.Module nn.Parameter torch.device
    """.split()
]
# Attributes without a docstring of their own.
nitpick_ignore += [('py:attr', name) for name in ('COUNTS', 'SPLITS', 'image_shape', 'num_sources')]
nitpick_ignore_regex = [(r'py:.*', r'(mmcv|mmengine|mmpretrain|torch|torchvision)\..*')]

html_theme = 'furo'
html_title = 'mman'
html_theme_options = {
    # Two hues that people with any kind of colour vision tell apart, as in the figures.
    'light_css_variables': {'color-brand-primary': '#0072b2', 'color-brand-content': '#0072b2'},
    'dark_css_variables': {'color-brand-primary': '#56b4e9', 'color-brand-content': '#56b4e9'},
}
html_static_path = ['_static']
html_css_files = ['mman.css']
html_show_copyright = False
html_show_sourcelink = False

# The button copies commands only: no prompt, and no button beside what a command prints.
copybutton_selector = 'div:not(.highlight-text) > div.highlight > pre'
