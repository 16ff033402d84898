#!/usr/bin/env bash
# Make a certificate authority of your own, and a certificate for each machine, for Ray's encrypted connections.
#
#   make-certificates.sh FOLDER NAME=ADDRESS[,ADDRESS…] [NAME=ADDRESS…]
#   make-certificates.sh ~/jmed-tls head=10.0.0.1 gpu1=10.0.0.2 gpu2=10.0.0.3,192.168.1.3
#
# FOLDER/ca.key signs further machines later (run it again with the same FOLDER and new names): keep it on one machine,
# off the cluster. Copy FOLDER/NAME, which holds ca.crt, node.crt and node.key, to machine NAME alone, and name the
# copy in JMED_TLS_DIR there. Certificates hold for JMED_TLS_DAYS days (365). Nothing that exists is replaced.

set -euo pipefail

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

case ${1:---help} in
--help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
-*) fail "$1: unknown option; see --help" ;;
esac
folder=$1
shift
(($#)) || fail "name at least one machine: NAME=ADDRESS; see --help"
days=${JMED_TLS_DAYS:-365}
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
umask 077
mkdir -p "$folder"

make_authority() {
    openssl req -x509 "${key[@]}" -days "$days" -keyout "$folder/ca.key" -out "$folder/ca.crt" \
        -subj "/CN=jmed cluster" -addext "basicConstraints=critical,CA:TRUE" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
}

# Ray connects to addresses, and each machine is server and client at once.
make_machine() {
    local name=$1 addresses=$2 place="$folder/$1" names address
    names="DNS:$name,DNS:localhost,IP:127.0.0.1"
    for address in ${addresses//,/ }; do names+=",IP:$address"; done
    mkdir "$place"
    openssl req "${key[@]}" -keyout "$place/node.key" -out "$place/node.csr" -subj "/CN=$name" 2>/dev/null
    openssl x509 -req -in "$place/node.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
        -days "$days" -out "$place/node.crt" 2>/dev/null -extfile <(
            printf '%s\n' "subjectAltName=$names" "basicConstraints=CA:FALSE" "keyUsage=digitalSignature" \
                "extendedKeyUsage=serverAuth,clientAuth"
        ) || { rm -r "$place"; fail "$name=$addresses: openssl made no certificate; addresses are such as 10.0.0.1"; }
    rm "$place/node.csr"
    cp "$folder/ca.crt" "$place/ca.crt"
}

for machine in "$@"; do
    [[ $machine =~ ^[A-Za-z0-9][A-Za-z0-9.-]*=[0-9A-Fa-f.:,]+$ ]] ||
        fail "found $machine; expected NAME=ADDRESS such as gpu1=10.0.0.2"
    [[ ! -e $folder/${machine%%=*} ]] || fail "$folder/${machine%%=*} exists; remove it to make a new certificate"
done
[[ -e $folder/ca.key ]] || make_authority
for machine in "$@"; do
    make_machine "${machine%%=*}" "${machine#*=}"
    echo "$folder/${machine%%=*}"
done
