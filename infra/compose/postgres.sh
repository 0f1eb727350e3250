#!/bin/sh
# PostgreSQL in its container: with its certificate, and with each new one as soon as it is there.
# The server wants its key to be its own, which a file of the host may not be: it is copied.
set -eu
umask 077
at=/run/postgresql

take() {
    cp /run/inner-tls/tls.key $at/tls.key.new
    cp /run/inner-tls/tls.pem $at/tls.pem.new
    mv $at/tls.key.new $at/tls.key
    mv $at/tls.pem.new $at/tls.pem
}

take
printf 'local all all scram-sha-256\nhostssl all,replication all all scram-sha-256\n' >$at/pg_hba.conf
while sleep 5; do
    if ! cmp -s /run/inner-tls/tls.pem $at/tls.pem; then
        take
        kill -HUP 1
    fi
done &
exec docker-entrypoint.sh "$@"
