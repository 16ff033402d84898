#!/usr/bin/env bash
# Start the head of a jmed cluster on this machine with plain `ray start`. Nothing else on the machine is touched.
#
#   start-head.sh [--ip ADDRESS] [--port 6379] [--compute] [--background] [other options] [-- more flags of ray start]
#
#   --ip ADDRESS           address under which the other machines reach this one (default: Ray finds it)
#   --port N               port that workers join at (default 6379)
#   --dashboard-port N     port of dashboard and job submission, on 127.0.0.1 only (default 8265)
#   --compute              this machine also computes; without it the head only leads
#   --gpu-kind, --batch-tokens, --label NAME=VALUE   as in start-worker.sh; only with --compute
#   --temp-dir FOLDER      Ray's logs and sockets (default /tmp/ray); a short path, since sockets have a limit
#   --background           return when Ray is up; without it Ray runs in the foreground, and Ctrl-C or SIGTERM ends
#                          this Ray and no other (with --background only `ray stop` does, which ends every Ray of
#                          this user on the machine)
#
# The token is read from RAY_AUTH_TOKEN_PATH (default ~/.ray/auth_token; made by make-token.sh). JMED_TLS_DIR, if set,
# names the folder of this machine's certificate (cluster/tls). Status 2: something to mend, one message says what.

set -euo pipefail
# shellcheck source=cluster/on-premise/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flags=(--head --dashboard-host 127.0.0.1 --object-store-memory "$OBJECT_STORE_BYTES")
port=6379 dashboard_port=8265 compute=no block=(--block) kind="" tokens="" labels=""
while (($#)); do
    case $1 in
    --help) usage; exit 0 ;;
    --compute) compute=yes; shift; continue ;;
    --background) block=(); shift; continue ;;
    --) shift; break ;;
    esac
    (($# > 1)) || fail "$1: unknown option, or its value is missing; see --help"
    case $1 in
    --ip) flags+=(--node-ip-address "$2") ;;
    --port) port=$2 ;;
    --dashboard-port) dashboard_port=$2 ;;
    --temp-dir) flags+=(--temp-dir "$2") ;;
    --gpu-kind) kind=$2 ;;
    --batch-tokens) tokens=$2 ;;
    --label) labels+=",$2" ;;
    *) fail "$1: unknown option; see --help" ;;
    esac
    shift 2
done
refuse_own_flags "$@"
prepare
flags+=(--port "$port" --dashboard-port "$dashboard_port" "${block[@]}")
if [[ $compute == yes ]]; then
    machine=$(machine_labels "$kind" "$tokens" "$labels")
    flags+=(--labels "$machine")
else
    # No workers here: a worker that runs out of memory on the head takes the whole cluster with it.
    flags+=(--num-cpus 0 --num-gpus 0)
fi
exec ray start "${flags[@]}" "$@"
