_base_ = './sgd_bs1024_400e.py'

train_cfg = dict(max_epochs=160)
