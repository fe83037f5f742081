_base_ = './sgd_bs128_400e.py'

train_cfg = dict(max_epochs=160)
