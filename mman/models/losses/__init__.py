from .supcon import SupConLoss

__all__ = ['SupConLoss']
