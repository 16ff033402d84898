#!/usr/bin/env bash
# On a spot machine: watch for the notice that it will be taken back (about two minutes ahead), and tell Ray, so that
# no new work is put there and jobs on it leave a checkpoint.
#
#   preemption.sh --head ADDRESS:PORT [--node-id HEX] [--seconds 5]
#
#   --head ADDRESS:PORT  of the cluster
#   --node-id HEX        this machine's id in the cluster (default: asked from Ray)
#   --seconds N          between two looks (default 5, as the cloud's documentation advises)
#
# Token and JMED_TLS_DIR as for start-worker.sh. JMED_METADATA is the metadata service (default: AWS's, IMDSv2). Ends
# with status 0 after Ray has taken the notice.

set -euo pipefail
# shellcheck source=cluster/on-premise/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../on-premise/common.sh"

metadata=${JMED_METADATA:-http://169.254.169.254}
head="" node="" seconds=5
while (($#)); do
    [[ $1 != --help ]] || { usage; exit 0; }
    (($# > 1)) || fail "$1: unknown option, or its value is missing; see --help"
    case $1 in
    --head) head=$2 ;;
    --node-id) node=$2 ;;
    --seconds) seconds=$2 ;;
    *) fail "$1: unknown option; see --help" ;;
    esac
    shift 2
done
[[ $head == *:* ]] || fail "--head is required: ADDRESS:PORT of the cluster"
prepare

# Ray's drain-node without --node-id would start a Ray of its own and drain that one (seen with Ray 2.60).
own_node() {
    python - "$head" <<'PYTHON'
import sys

import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(ray.get_runtime_context().get_node_id())
PYTHON
}

# The time of the end as the notice gives it; nothing as long as there is no notice (HTTP 404) or no answer.
end_time() {
    local pass notice
    pass=$(curl -sf -m 2 -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" "$metadata/latest/api/token") || return 0
    notice=$(curl -sf -m 2 -H "X-aws-ec2-metadata-token: $pass" "$metadata/latest/meta-data/spot/instance-action") ||
        return 0
    sed -n 's/.*"time" *: *"\([^"]*\)".*/\1/p' <<<"$notice"
}

node=${node:-$(own_node)}
echo "watching for node $node"
until when=$(end_time) && [[ -n $when ]]; do sleep "$seconds"; done
left=$(($(date -d "$when" +%s) - $(date +%s)))
((left > 0)) || left=1
echo "this machine ends at $when, in $left seconds: telling Ray"
ray drain-node --address "$head" --node-id "$node" --reason DRAIN_NODE_REASON_PREEMPTION \
    --reason-message "spot machine ends at $when" --deadline-remaining-seconds "$left"
