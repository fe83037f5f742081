from mmengine.registry import init_default_scope


def register_all_modules() -> None:
    """Import every module of mman and make 'mman' the default scope.

    A Runner whose config says ``default_scope = 'mman'`` does both by itself.
    Call this before building models or datasets without a Runner: mmpretrain's
    classifiers look their parts up in the default scope.
    """
    import mman.datasets
    import mman.engine
    import mman.models  # noqa: F401

    init_default_scope('mman')
