#!/usr/bin/env bash
# Test a checkpoint with several processes; each sample is counted once.
#
# usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
#
# Machines and ports as in tools/dist_train.sh.
exec "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" test.py "${1:-}" "${3:-}" "${2:-}" "${@:4}"
