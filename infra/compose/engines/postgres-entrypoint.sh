#!/bin/sh
# Makes the cluster and its database on the first start, by the variables that PostgreSQL's own image
# takes: POSTGRES_PASSWORD_FILE, POSTGRES_INITDB_ARGS, POSTGRES_DB. Then it is what it was told to be.
set -eu
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    # shellcheck disable=SC2086 # the arguments are several words
    initdb --pgdata "$PGDATA" --username postgres --pwfile "$POSTGRES_PASSWORD_FILE" \
        --encoding UTF8 --locale C.UTF-8 --auth-local trust ${POSTGRES_INITDB_ARGS:-}
    printf 'CREATE DATABASE "%s"\n' "${POSTGRES_DB:-postgres}" |
        postgres --single -D "$PGDATA" postgres >/dev/null
    printf "listen_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
fi
exec "$@"
