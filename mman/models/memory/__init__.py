from .block_costs import BlockCosts
from .cost import Cost, measure

__all__ = ['BlockCosts', 'Cost', 'measure']
