"""Running a function when a module is first imported: `import mman` need not import it."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder


class _BeforeImport(MetaPathFinder):
    """Finds no module, but is asked before a certain one is looked for."""

    def __init__(self, name: str, function: Callable[[], object]):
        self.name, self.function = name, function

    def find_spec(self, name, path=None, target=None):
        """Call the function once, and leave the module to the other finders."""
        if name == self.name:
            sys.meta_path.remove(self)
            self.function()


def before_import(name: str, function: Callable[[], object]) -> None:
    """Call ``function`` right before the module ``name`` is imported; never if it was already."""
    if name not in sys.modules:
        sys.meta_path.insert(0, _BeforeImport(name, function))
