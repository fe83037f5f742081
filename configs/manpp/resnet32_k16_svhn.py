_base_ = ['../_base_/models/manpp.py', '../_base_/recipes/svhn_400e.py']

model = dict(splitter=dict(num_blocks=16, stem='own'))
