from .ramp_cosine import RampCosineLR

__all__ = ['RampCosineLR']
