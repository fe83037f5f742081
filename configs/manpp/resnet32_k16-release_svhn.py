_base_ = ['../_base_/models/manpp_k16_release.py', '../_base_/recipes/svhn_400e.py']
