_base_ = ['../_base_/models/manpp_k33_release.py', '../_base_/recipes/svhn_400e.py']
