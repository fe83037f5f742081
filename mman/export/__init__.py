from .exported import Exported
from .man_release import convert_man_release
from .plain_classifier import PlainClassifier
from .programs import export_onnx, export_torch
from .publish import publish_model
from .weights import FORMATS, export_weights

__all__ = [
    'FORMATS',
    'Exported',
    'PlainClassifier',
    'convert_man_release',
    'export_onnx',
    'export_torch',
    'export_weights',
    'publish_model',
]
