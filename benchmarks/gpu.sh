#!/usr/bin/env bash
# Measure everything that needs a GPU, in slices of at most nine minutes. Repeat the same command
# until it says that all is done: benchmarks/README.md.
#
# usage: benchmarks/gpu.sh FOLDER [--data CIFAR10] [--minutes 9] [--epochs N] [--dry-run]
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python}" -m benchmarks.gpu "$@"
