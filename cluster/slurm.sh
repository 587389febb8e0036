#!/bin/bash
# Trains many networks on the nodes of a Slurm job, with a Ray cluster that ends with the job.
#   sbatch cluster/slurm.sh --architectures nets.json --data imagefolder:/shared/images --out /shared/runs/a
# All arguments are passed to train.ray_tune. The project, its environment, the data and --out must be
# on a file system that all nodes share. After Slurm has ended a job, the same command with the same
# --out resumes it: finished trials are not repeated.
#SBATCH --job-name=ray-tune
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# sends SIGTERM a minute before the time limit, so that the driver can write its results
#SBATCH --signal=B:TERM@60
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?run this by sbatch}"
if [[ " $* " != *" --out"[\ =]* ]]; then
    echo "slurm.sh: --out is missing; give a folder that all nodes share" >&2
    exit 2
fi
python=${PYTHON:-python}
# Slurm does not set this variable if the partition has no GPUs
gpus=${SLURM_GPUS_ON_NODE:-0}
# a separate port for each job, because several jobs may share a node; Ray's workers use 10002 to
# 19999
port=$((20000 + SLURM_JOB_ID % 10000))

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# the network address of the head: a host name may have several addresses, on Debian also a
# loopback address
ip=$(srun --nodes=1 --ntasks=1 -w "$head" \
    bash -c '{ hostname --ip-address || true; hostname --all-ip-addresses; } | tr " " "\n"' |
    awk '/^[0-9.]+$/ && !/^127[.]/ && !found { print; found = 1 }')
address=${ip:?the head has no network address}:$port
export RAY_USAGE_STATS_ENABLED=0
# The head, the nodes and the driver use the same mode of Ray's authentication. By default they use a
# new token for this job, which srun passes on in the environment; a token in ~/.ray is not used.
# `export RAY_AUTH_MODE=disabled` before sbatch disables authentication.
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
unset RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH RAY_ENABLE_K8S_TOKEN_AUTH
if [[ $RAY_AUTH_MODE == token ]]; then
    RAY_AUTH_TOKEN=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')
    export RAY_AUTH_TOKEN
fi

start() {  # node, arguments of ray start
    srun --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --overlap --export=ALL \
        -w "$1" "$python" -m ray.scripts.scripts start \
        --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" --disable-usage-stats --block \
        "${@:2}" >"ray-$SLURM_JOB_ID-$1.log" 2>&1 &
}

answers() { (exec 3<>"/dev/tcp/$ip/$port") 2>/dev/null; }

start "$head" --head --node-ip-address="$ip" --port="$port" --include-dashboard=false
for ((second = 0; second < 180; second++)); do
    if answers; then break; fi
    sleep 1
done
if ! answers; then
    echo "slurm.sh: no Ray answers at $address; see ray-$SLURM_JOB_ID-$head.log" >&2
    exit 1
fi
for node in "${nodes[@]:1}"; do
    start "$node" --address="$address"
done
# this script runs on the node of the head, where the driver must run
"$python" -m train.ray_tune --address "$address" --nodes "${#nodes[@]}" "$@" &
driver=$!
trap 'kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
# a trap interrupts the first wait; the second one waits until the driver has written its results
if kill -0 "$driver" 2>/dev/null; then wait "$driver" || code=$?; fi
exit "$code"
