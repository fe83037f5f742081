from .projection_head import ProjectionClsHead

__all__ = ['ProjectionClsHead']
