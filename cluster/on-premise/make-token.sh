#!/usr/bin/env bash
# Make the cluster's token: a file that only you can read. Copy it to every machine and to no repository.
#
#   make-token.sh [FILE]      default: RAY_AUTH_TOKEN_PATH, else ~/.ray/auth_token, where Ray itself looks
#
# An existing file is never replaced: that would lock out everybody who holds the old token. (Ray's own
# `ray get-auth-token --generate` prints the token, and leaves its file readable as the umask says.)

set -euo pipefail
# shellcheck source=cluster/on-premise/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
--help) usage; exit 0 ;;
-*) fail "$1: unknown option; see --help" ;;
esac
file=${1:-${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}}
[[ ! -e $file ]] || fail "$file exists; remove it yourself if nobody needs that token any more"
umask 077
mkdir -p "$(dirname "$file")"
token=$(openssl rand -hex 32) # 256 random bits
printf %s "$token" >"$file"   # without a newline, which Ray would take for a part of it
echo "$file"
