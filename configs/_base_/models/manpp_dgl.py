_base_ = './man_dgl.py'

# MAN++ (TPAMI 2026): as MAN, with a learnable mix.
model = dict(aux_head=dict(mix='scaled'))
