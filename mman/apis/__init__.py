from mman.utils.config_names import config_path, list_models

from .config import load_config, set_amp, set_auto_scale_lr, set_resume, set_seed, set_work_dir
from .distributed import leave_processes
from .feature_cache import cache_bytes, use_feature_cache
from .inference import ImageInferencer, get_model, image_files
from .memory_budget import apply_memory_budget
from .pretrained import start_from_pretrained
from .runner import build_runner
from .test import test_model
from .train import summarize, train_and_tell, train_model

__all__ = [
    'ImageInferencer',
    'apply_memory_budget',
    'build_runner',
    'cache_bytes',
    'config_path',
    'get_model',
    'image_files',
    'leave_processes',
    'list_models',
    'load_config',
    'set_amp',
    'set_auto_scale_lr',
    'set_resume',
    'set_seed',
    'set_work_dir',
    'start_from_pretrained',
    'summarize',
    'test_model',
    'train_and_tell',
    'train_model',
    'use_feature_cache',
]
