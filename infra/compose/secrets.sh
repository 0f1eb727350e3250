#!/bin/sh
# Makes the secrets of one installation, each in a file: ./secrets, or the directory given.
#
#   infra/compose/secrets.sh [directory]
#
# All of them are made at once or none; what is there is never changed. Three variables say where
# the services find the engines: DARKROOM_POSTGRES (postgres:5432), DARKROOM_RABBITMQ (rabbitmq:5672)
# and DARKROOM_POSTGRES_CA, the file, as the services see it, with the authority of PostgreSQL's
# certificate. Without it connections to PostgreSQL are plain: the compose file's own has no other
# neighbours.
# The chart takes the same files, see docs/deployment.md.
#
# Run as root, each file belongs to the user of the one container that reads it (mode 0400). Run as
# another user, files are readable (0444) inside a directory that is not (0700): containers get
# them one by one, other users of the machine do not get into the directory.
set -eu
umask 077

directory=${1:-secrets}
postgres=${DARKROOM_POSTGRES:-postgres:5432}
rabbitmq=${DARKROOM_RABBITMQ:-rabbitmq:5672}
ca=${DARKROOM_POSTGRES_CA:-}
mode="?sslmode=disable"
[ -z "$ca" ] || mode="?sslmode=verify-full&sslrootcert=$ca"
services="ingest metadata transmit print api licensing"
keys="phi-keys audit-keys blind-index-key pseudonym-key jwt-key admin-password"
names="$keys postgres-password superuser-url role-passwords migration-url amqp-url"
for service in $services; do names="$names postgres-url-$service"; done
darkroom_user=10001
postgres_user=999

say() { printf 'darkroom secrets: %s\n' "$*"; }
fail() { printf 'darkroom secrets: %s\n' "$*" >&2; exit 1; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }
password() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }

if [ -e "$directory" ]; then
    for name in $names; do
        [ -s "$directory/$name" ] || fail "$directory/$name is gone or empty: put it back from" \
            "your backup. A new key would not open what the old one has closed."
    done
    say "$directory is complete; nothing changed"
    exit 0
fi

draft=$directory.new
rm -rf "$draft"
mkdir -p "$(dirname "$directory")"
mkdir -m 0700 "$draft"
write() { cat >"$draft/$1"; }

for name in phi-keys audit-keys; do
    printf '{"current": 1, "keys": {"1": "%s"}}' "$(key)" | write $name
done
for name in blind-index-key pseudonym-key jwt-key; do key | write $name; done
password | write admin-password

superuser=$(password)
printf '%s' "$superuser" | write postgres-password
printf 'postgresql://postgres:%s@%s/darkroom%s' "$superuser" "$postgres" "$mode" | write superuser-url
owner=$(password)
printf 'postgresql://darkroom_migrate:%s@%s/darkroom%s' "$owner" "$postgres" "$mode" | write migration-url
roles="\"darkroom_migrate\": \"$owner\""
for service in $services; do
    role=$(password)
    roles="$roles, \"darkroom_$service\": \"$role\""
    printf 'postgresql://darkroom_%s:%s@%s/darkroom%s' "$service" "$role" "$postgres" "$mode" |
        write "postgres-url-$service"
done
printf '{%s}' "$roles" | write role-passwords
printf 'amqp://darkroom:%s@%s/' "$(password)" "$rabbitmq" | write amqp-url

for name in $names; do
    [ -s "$draft/$name" ] || fail "could not make $name"
    if [ "$(id -u)" = 0 ]; then
        chown $darkroom_user "$draft/$name"
        chmod 0400 "$draft/$name"
    else
        chmod 0444 "$draft/$name"
    fi
done
if [ "$(id -u)" = 0 ]; then chown $postgres_user "$draft/postgres-password"; fi
mv "$draft" "$directory"
say "made in $directory. Back up phi-keys, audit-keys and blind-index-key apart from the database."
