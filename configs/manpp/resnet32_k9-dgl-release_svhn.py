_base_ = ['../_base_/models/manpp_dgl_release.py', '../_base_/recipes/svhn_400e.py']

model = dict(splitter=dict(num_blocks=9))
