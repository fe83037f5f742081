# SVHN as InfoPro trains it: batch 1024, 160 epochs.
_base_ = ['../datasets/svhn.py', '../schedules/sgd_bs1024_160e.py', '../default_runtime.py']
