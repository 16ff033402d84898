#!/usr/bin/env bash
# Run a command with the cluster's token and, if JMED_TLS_DIR is set, its certificates.
#
#   with-env.sh ray status --address HEAD:6379
#   with-env.sh ray job list --address http://127.0.0.1:8265

set -euo pipefail
# shellcheck source=cluster/on-premise/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:---help} in
--help) usage; exit 0 ;;
esac
prepare
exec "$@"
