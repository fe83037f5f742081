#!/usr/bin/env bash
# Train in a Slurm allocation, one task a GPU.
#
# usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG GPUS [arguments of tools/train.py]
#
# GPUS is the total. GPUS_PER_NODE (8), CPUS_PER_TASK (5) and SRUN_ARGS, further
# options of srun separated by spaces, come from the environment.
set -euo pipefail

if [ "$#" -lt 4 ] || ! [[ $4 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
partition=$1 job=$2 config=$3 gpus=$4
shift 4

per_node=${GPUS_PER_NODE:-8}
if [ "$gpus" -lt "$per_node" ]; then
    per_node=$gpus
fi
read -r -a extra <<<"${SRUN_ARGS:-}"
exec srun --partition "$partition" --job-name "$job" \
    --gres "gpu:$per_node" --ntasks "$gpus" --ntasks-per-node "$per_node" \
    --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 "${extra[@]}" \
    "${PYTHON:-python}" -u "$(dirname "${BASH_SOURCE[0]}")/train.py" "$config" "$@" --launcher slurm
