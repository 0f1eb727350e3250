#!/bin/sh
# Makes and renews the certificates of one installation: ./secrets/tls, or the directory given.
#
#   infra/compose/certificates.sh [directory] [--every]
#
# An authority of its own, and of it a certificate for each container, in a directory that this one
# container reads: ca.pem, tls.pem, tls.key. Those that have less than 30 of their 90 days left are
# made anew, or all of them; run it every week (cron). Containers take what is new by themselves:
# the services and PostgreSQL within seconds, RabbitMQ within two minutes. DARKROOM_NAMES are other
# names and addresses, divided by commas, that this machine is called by: `api` and `ingest` show them.
#
# To have others sign, put their files into those directories and do not run this.
set -eu
umask 077

directory=${1:-secrets/tls}
every=${2:-}
owners="ingest metadata transmit print api licensing postgres rabbitmq prometheus alertmanager grafana"
days=90
left=$((30 * 86400))

say() { printf 'darkroom certificates: %s\n' "$*"; }
fail() { printf 'darkroom certificates: %s\n' "$*" >&2; exit 1; }
command -v openssl >/dev/null || fail "openssl is missing: apt-get install openssl"
quiet() { openssl "$@" 2>/dev/null || fail "openssl $1 failed: try it by hand: openssl $*"; }

mkdir -p "$directory"
chmod 0700 "$directory" # containers get what is within one by one
authority=$directory/authority
if [ ! -s "$authority/ca.key" ]; then
    mkdir -p "$authority"
    chmod 0700 "$authority"
    quiet ecparam -name prime256v1 -genkey -noout -out "$authority/ca.key"
    quiet req -x509 -new -key "$authority/ca.key" -sha256 -days 3650 -out "$authority/ca.pem" \
        -subj "/CN=Darkroom of $(hostname)" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign"
    say "made an authority: $authority/ca.pem is what others have to trust. Keep ca.key."
fi

names() { # of an owner: its container, and whatever it is called by from outside
    printf 'DNS:%s,DNS:localhost,IP:127.0.0.1' "$1"
    case $1 in api | ingest | grafana) ;; *) return ;; esac
    printf ',DNS:%s' "$(hostname)"
    for name in $(printf '%s' "${DARKROOM_NAMES:-}" | tr , ' '); do
        case $name in
        *[!0-9.]*:* | *:*) printf ',IP:%s' "$name" ;;
        *[!0-9.]*) printf ',DNS:%s' "$name" ;;
        *) printf ',IP:%s' "$name" ;;
        esac
    done
}

for owner in $owners; do
    place=$directory/$owner
    if [ "$every" != --every ] && [ -s "$place/tls.key" ] &&
        openssl x509 -in "$place/tls.pem" -noout -checkend $left >/dev/null 2>&1; then
        continue
    fi
    mkdir -p "$place"
    chmod 0755 "$place"
    quiet ecparam -name prime256v1 -genkey -noout -out "$place/tls.key.new"
    quiet req -new -key "$place/tls.key.new" -subj "/CN=darkroom $owner" -out "$place/tls.csr"
    {
        printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
        printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "$(names "$owner")"
        printf 'authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n'
    } >"$place/tls.extensions"
    quiet x509 -req -in "$place/tls.csr" -CA "$authority/ca.pem" -CAkey "$authority/ca.key" -sha256 \
        -set_serial "0x$(od -An -v -tx1 -N16 /dev/urandom | tr -d ' \n')" -days $days \
        -extfile "$place/tls.extensions" -out "$place/tls.pem.new"
    cp "$authority/ca.pem" "$place/ca.pem.new"
    # As root each key is for the user of its one container; else for whoever gets into the directory.
    case $owner in
    postgres | rabbitmq) user=999 ;;
    prometheus | alertmanager) user=65534 ;;
    grafana) user=472 ;;
    *) user=10001 ;;
    esac
    chmod 0444 "$place/tls.pem.new" "$place/ca.pem.new" "$place/tls.key.new"
    if [ "$(id -u)" = 0 ]; then
        chown $user "$place/tls.key.new"
        chmod 0400 "$place/tls.key.new"
    fi
    # The key first: who looks between the two finds a pair that does not fit, and keeps its own.
    for file in tls.key tls.pem ca.pem; do mv "$place/$file.new" "$place/$file"; done
    rm "$place/tls.csr" "$place/tls.extensions"
    say "made one for $owner"
done
