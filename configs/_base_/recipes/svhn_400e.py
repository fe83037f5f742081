# SVHN as MAN trains it: batch 1024, 400 epochs.
_base_ = ['../datasets/svhn.py', '../schedules/sgd_bs1024_400e.py', '../default_runtime.py']
