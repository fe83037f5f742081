# Layer after layer, 12 epochs each, as the released runs.
_base_ = './mlp2x1000_k2_fashionmnist.py'

phases = 'sequential'
