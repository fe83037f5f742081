"""The command ``mman``: every tool of the repository, from any folder."""

from .main import main

__all__ = ['main']
