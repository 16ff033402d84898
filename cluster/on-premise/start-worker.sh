#!/usr/bin/env bash
# Join this machine to a jmed cluster with plain `ray start`. Nothing else on the machine is touched.
#
#   start-worker.sh --head ADDRESS[:PORT] [--gpu-kind KIND] [--batch-tokens N] [other options] [-- flags of ray start]
#
#   --head ADDRESS[:PORT]  where start-head.sh runs (port 6379 if not given)
#   --ip ADDRESS           address under which the others reach this machine (default: Ray finds it)
#   --gpu-kind KIND        label jmed-gpu (default: from nvidia-smi, such as t4 or rtx-3090; none without a GPU)
#   --batch-tokens N       label jmed-batch-tokens: most tokens, padding included, that a worker on this machine
#                          computes at once (default: from the memory of the smallest GPU, by the rule in common.sh)
#   --label NAME=VALUE     one more label; may be repeated
#   --temp-dir FOLDER      Ray's logs and sockets (default: as on the head)
#   --background           return when Ray is up; without it Ray runs in the foreground, and Ctrl-C or SIGTERM ends
#                          this Ray and no other (Ray first tells the cluster, which takes up to 30 seconds)
#
# The same token file as on the head; JMED_TLS_DIR as there. Flags after -- go to ray start: `-- --num-gpus 1` lends
# the cluster one GPU of several, `-- --num-cpus 8` eight CPUs. Status 2: something to mend, one message says what.

set -euo pipefail
# shellcheck source=cluster/on-premise/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flags=(--object-store-memory "$OBJECT_STORE_BYTES")
head="" block=(--block) kind="" tokens="" labels=""
while (($#)); do
    case $1 in
    --help) usage; exit 0 ;;
    --background) block=(); shift; continue ;;
    --) shift; break ;;
    esac
    (($# > 1)) || fail "$1: unknown option, or its value is missing; see --help"
    case $1 in
    --head) head=$2 ;;
    --ip) flags+=(--node-ip-address "$2") ;;
    --gpu-kind) kind=$2 ;;
    --batch-tokens) tokens=$2 ;;
    --label) labels+=",$2" ;;
    --temp-dir) flags+=(--temp-dir "$2") ;;
    *) fail "$1: unknown option; see --help" ;;
    esac
    shift 2
done
[[ -n $head ]] || fail "--head is required: the address of the machine where start-head.sh runs"
[[ $head == *:* ]] || head+=":6379"
refuse_own_flags "$@"
prepare
machine=$(machine_labels "$kind" "$tokens" "$labels")
exec ray start --address "$head" "${flags[@]}" "${block[@]}" --labels "$machine" "$@"
