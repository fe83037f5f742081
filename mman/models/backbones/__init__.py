from .cifar_resnet import CIFARResNet
from .mlp import MLP
from .torchvision_backbone import TorchvisionBackbone

__all__ = ['MLP', 'CIFARResNet', 'TorchvisionBackbone']
