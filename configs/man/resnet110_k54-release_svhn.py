_base_ = ['../_base_/models/man_k54_release.py', '../_base_/recipes/svhn_400e.py']
