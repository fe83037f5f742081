_base_ = ['../_base_/models/manpp_k55_release.py', '../_base_/recipes/svhn_400e.py']
