#!/bin/bash
# Trains many networks on nodes of a Slurm cluster: one Ray for the length of the job.
#   sbatch cluster/slurm.sh --architectures nets.json --data imagefolder:/shared/images --out /shared/runs/a
# All arguments go to train.ray_tune. Project, environment, data and --out lie on a file system that
# all nodes share. A job that Slurm ends is gone on with by the same sbatch: what is finished is not
# trained again.
#SBATCH --job-name=ray-tune
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# SIGTERM a minute before the end, so that the driver can write its results
#SBATCH --signal=B:TERM@60
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?run this by sbatch}"
python=${PYTHON:-python}
# absent where the partition has no GPUs
gpus=${SLURM_GPUS_ON_NODE:-0}
# a port of the job's own: several jobs may share a node
port=$((10000 + SLURM_JOB_ID % 20000))

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# the network address of the head, where a name may have several
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):$port
export RAY_USAGE_STATS_ENABLED=0

start() {  # node, arguments of ray start
    srun --nodes=1 --ntasks=1 --overlap -w "$1" "$python" -m ray.scripts.scripts start \
        --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" --disable-usage-stats --block \
        "${@:2}" >"ray-$SLURM_JOB_ID-$1.log" 2>&1 &
}

start "$head" --head --node-ip-address="${address%:*}" --port="$port" --include-dashboard=false
for node in "${nodes[@]:1}"; do
    start "$node" --address="$address"
done
# this shell runs on the head's node, which is where a driver belongs
"$python" -m train.ray_tune --address "$address" --nodes "${#nodes[@]}" "$@" &
driver=$!
trap 'kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
# a trap interrupts the first wait; the second is for the results
if kill -0 "$driver" 2>/dev/null; then wait "$driver" || code=$?; fi
exit "$code"
