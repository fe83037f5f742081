#!/usr/bin/env bash
# Train with several processes, on one machine or many.
#
# usage: tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
#
# PROCESSES is the number on this machine: its GPUs, or any number on a CPU.
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and
# MASTER_PORT set. MAX_RESTARTS restarts all processes after one has failed;
# give --resume with it. MASTER_PORT defaults to a free port on one machine.
exec "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" train.py "$@"
