"""Checksums of what may be downloaded."""

# SHA-256 of each file as published. Their authors publish md5 at most, against which a file can be
# forged; these are what Keras (CIFAR), torchvision's prototype data sets (CIFAR,
# SVHN, Fashion-MNIST) and batchup (SVHN, STL-10, Fashion-MNIST) check.
SHA256 = {
    'cifar-10-python.tar.gz': '6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce',
    'cifar-100-python.tar.gz': '85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7',
    'train_32x32.mat': '435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8',
    'test_32x32.mat': 'cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b',
    'extra_32x32.mat': 'a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3',
    'stl10_binary.tar.gz': 'f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866',
    'train-images-idx3-ubyte.gz': (
        '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84'
    ),
    'train-labels-idx1-ubyte.gz': (
        'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845'
    ),
    't10k-images-idx3-ubyte.gz': (
        '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073'
    ),
    't10k-labels-idx1-ubyte.gz': (
        '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5'
    ),
}
