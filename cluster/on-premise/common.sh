# shellcheck shell=bash
# What the scripts of this folder share: checks before Ray starts, and its environment. To be sourced by bash.

shopt -s inherit_errexit # a failure inside $(…) ends the script, too
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Prompts, batches and numbers pass through Ray's object store; models, data and answers do not. Ray would set 30 % of
# the machine's memory aside, which loading a model needs more.
# shellcheck disable=SC2034 # used by the scripts that source this file
OBJECT_STORE_BYTES=$((256 * 1024 * 1024))

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# The comment at the top of the calling script is its help.
usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# Only its owner may read or write FILE.
require_private() {
    local what=$1 file=$2 mode owner
    [[ -s $file ]] || fail "$what $file is missing or empty; $3"
    mode=$(stat -L -c %a "$file")
    owner=$(stat -L -c %u "$file")
    [[ $owner == "$(id -u)" ]] || fail "$what $file belongs to another user; make your own copy of it"
    [[ $mode == *00 ]] || fail "$what $file has mode $mode, so others may read it; run: chmod 600 $file"
}

# Token authentication, always: whatever the environment says, Ray never starts open.
use_token() {
    export RAY_AUTH_MODE=token
    export RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
    unset RAY_AUTH_TOKEN # it would win over the file, and every process of the machine's user can read it
    require_private "token file" "$RAY_AUTH_TOKEN_PATH" \
        "make it once with cluster/on-premise/make-token.sh and copy it to every machine"
}

# JMED_TLS_DIR holds ca.crt, node.crt and node.key (cluster/tls/make-certificates.sh): then all of Ray's own
# connections are encrypted, and each side shows a certificate. All machines with TLS, or none.
use_tls() {
    [[ -n ${JMED_TLS_DIR:-} ]] || return 0
    local name
    for name in ca.crt node.crt; do
        [[ -s $JMED_TLS_DIR/$name ]] || fail "JMED_TLS_DIR: $JMED_TLS_DIR/$name is missing; see cluster/tls"
    done
    require_private "key" "$JMED_TLS_DIR/node.key" "see cluster/tls/make-certificates.sh"
    export RAY_USE_TLS=1
    export RAY_TLS_CA_CERT=$JMED_TLS_DIR/ca.crt
    export RAY_TLS_SERVER_CERT=$JMED_TLS_DIR/node.crt
    export RAY_TLS_SERVER_KEY=$JMED_TLS_DIR/node.key
}

use_no_telemetry() {
    export RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1
}

# Ray's versions must be equal on all machines, down to the patch level.
require_ray() {
    command -v ray >/dev/null || fail "no ray in PATH; activate jmed's virtual environment first"
    local wanted found
    wanted=$(sed -n 's/^ray==//p' "$HERE/../../constraints.txt" 2>/dev/null || true)
    found=$(ray --version | sed 's/.*version //')
    [[ -z $wanted || $found == "$wanted" ]] || fail "found ray $found; constraints.txt says $wanted on every machine"
}

prepare() {
    use_token
    use_tls
    use_no_telemetry
    require_ray
}

# What follows -- goes to ray start; these two belong to the scripts, and ray start would take the last one.
refuse_own_flags() {
    local flag
    for flag in "$@"; do
        case $flag in
        --dashboard-host*) fail "$flag: the dashboard stays on 127.0.0.1; reach it with ssh -L 8265:localhost:8265" ;;
        --labels | --labels=*) fail "$flag: give --label NAME=VALUE before the --" ;;
        esac
    done
}

# "NAME, MEMORY in MiB" of each GPU, a line each; nothing where there is no NVIDIA driver.
list_gpus() {
    command -v nvidia-smi >/dev/null || return 0
    nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits ||
        fail "nvidia-smi is here but fails; mend the driver, or give --gpu-kind and --batch-tokens"
}

# The kind as a label's value: "NVIDIA GeForce RTX 3090" becomes rtx-3090, "Tesla T4" becomes t4.
gpu_kind() {
    local names
    names=$(list_gpus | sed 's/, *[^,]*$//' | sort -u)
    [[ -n $names ]] || { echo none; return; }
    [[ $(wc -l <<<"$names") == 1 ]] || { echo mixed; return; }
    tr '[:upper:]' '[:lower:]' <<<"$names" | sed -E 's/\b(nvidia|tesla|geforce|quadro) //g; s/[^a-z0-9.]+/-/g' |
        cut -c1-63 | sed -E 's/^[-.]+//; s/[-.]+$//'
}

# Memory of the smallest GPU -> largest number of tokens, padding included, that a worker computes at once. A starting
# rule for 7-billion-parameter models, not a measurement: 1024 and 2048 are what configs/finetune uses for 8 and 16 GB.
# What grows with the tokens is mostly the scores of the vocabulary: 152,064 words of 4 bytes are 0.6 MB a token.
batch_tokens() {
    local memory
    memory=$(list_gpus | sed -n 's/.*, *\([0-9]*\)$/\1/p' | sort -n | head -n 1)
    [[ -n $memory ]] || return 0 # no GPU: no limit beside the configuration's batch_tokens
    if ((memory < 12000)); then echo 1024  # 8 GB cards
    elif ((memory < 20000)); then echo 2048 # 16 GB: T4, V100, RTX 4080
    elif ((memory < 40000)); then echo 4096 # 24 and 32 GB: A10G, L4, RTX 3090, RTX 5090
    else echo 8192; fi                      # 40 GB and more: A100, L40S, H100; evaluate's default budget
}

# The labels of this machine, from what was given or from its GPUs: --labels of ray start.
machine_labels() {
    local kind=$1 tokens=$2 more=$3
    kind=${kind:-$(gpu_kind)}
    tokens=${tokens:-$(batch_tokens)}
    [[ -z $tokens || $tokens =~ ^[1-9][0-9]*$ ]] || fail "--batch-tokens: found $tokens; expected a number such as 2048"
    echo "jmed-gpu=$kind${tokens:+,jmed-batch-tokens=$tokens}$more"
}
