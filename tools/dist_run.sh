#!/usr/bin/env bash
# Run one of the tools in several processes; dist_train.sh and dist_test.sh call it.
#
# usage: tools/dist_run.sh TOOL CONFIG PROCESSES [arguments]
set -euo pipefail

tool=${1:-train.py} operands='CONFIG PROCESSES'
if [ "$tool" = test.py ]; then
    operands='CONFIG CHECKPOINT PROCESSES'
fi
if ! [[ ${3:-} =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tools/dist_${tool%.py}.sh $operands [arguments]: PROCESSES should be a number" \
        "from 1, not '${3:-}'" >&2
    exit 2
fi
config=$2 processes=$3
shift 3

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nodes=${NNODES:-1}
if [ "$nodes" != 1 ] && { [ -z "${MASTER_ADDR:-}" ] || [ -z "${MASTER_PORT:-}" ]; }; then
    echo "error: NNODES=$nodes needs MASTER_ADDR and MASTER_PORT, the same on all machines" >&2
    exit 2
fi
# On one machine a port of 0 lets the launcher take a free one.
if [ "$nodes" = 1 ] && [ -z "${MASTER_PORT:-}" ]; then
    meeting=(--rdzv-backend c10d --rdzv-endpoint "localhost:0")
else
    meeting=(
        --node-rank "${NODE_RANK:-0}"
        --master-addr "${MASTER_ADDR:-localhost}" --master-port "$MASTER_PORT"
    )
fi
# Signals that the processes answer by saving; SIGUSR1 alone would end the launcher and not them.
exec "${PYTHON:-python}" -m torch.distributed.run \
    --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 \
    --nnodes "$nodes" --nproc-per-node "$processes" "${meeting[@]}" \
    --max-restarts "${MAX_RESTARTS:-0}" \
    "$tools/$tool" "$config" "$@" --launcher pytorch
