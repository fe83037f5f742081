_base_ = ['../_base_/models/man_k15_release.py', '../_base_/recipes/svhn_400e.py']
