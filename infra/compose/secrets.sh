#!/bin/sh
# Makes the secrets of one installation, each in a file: ./secrets, or the directory given.
#
#   infra/compose/secrets.sh [directory]
#
# All of them are made at once or none; what is there is never changed, but for what an earlier
# release has made: it is given TLS, and a user of RabbitMQ for each service. Four variables say
# where the services find the engines: DARKROOM_POSTGRES (postgres:5432), DARKROOM_RABBITMQ
# (rabbitmq:5671), and DARKROOM_POSTGRES_CA and DARKROOM_RABBITMQ_CA, the files, as the services see
# them, with the authorities of the engines' certificates (/run/inner-tls/ca.pem, as
# certificates.sh makes it, which is run, too).
# The chart takes the same files, see docs/deployment.md.
#
# Run as root, each file belongs to the user of the one container that reads it (mode 0400). Run as
# another user, files are readable (0444) inside a directory that is not (0700): containers get
# them one by one, other users of the machine do not get into the directory.
set -eu
umask 077

directory=${1:-secrets}
postgres=${DARKROOM_POSTGRES:-postgres:5432}
rabbitmq=${DARKROOM_RABBITMQ:-rabbitmq:5671}
ours=/run/inner-tls/ca.pem
mode="?sslmode=verify-full&sslrootcert=${DARKROOM_POSTGRES_CA:-$ours}"
broker_ca=${DARKROOM_RABBITMQ_CA:-$ours}
services="ingest metadata transmit print api licensing"
keys="phi-keys audit-keys blind-index-key pseudonym-key jwt-key admin-password"
later="grafana-password backup-keys"
amqp_names=amqp-passwords
names="$keys postgres-password superuser-url role-passwords migration-url"
for service in $services; do
    names="$names postgres-url-$service"
    amqp_names="$amqp_names amqp-url-$service"
done
darkroom_user=10001
postgres_user=999
grafana_user=472

say() { printf 'darkroom secrets: %s\n' "$*"; }
fail() { printf 'darkroom secrets: %s\n' "$*" >&2; exit 1; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }
password() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }

write() { cat >"$draft/$1"; }
give() { # to whom reads it
    if [ "$(id -u)" = 0 ]; then
        chown "$2" "$1"
        chmod 0400 "$1"
    else
        chmod 0444 "$1"
    fi
}
users() { # of RabbitMQ, called like the roles of PostgreSQL
    all=
    for service in $services; do
        secret=$(password)
        all="$all${all:+, }\"darkroom_$service\": \"$secret\""
        printf 'amqps://darkroom_%s:%s@%s/?cafile=%s' "$service" "$secret" "$rabbitmq" "$broker_ca" |
            write "amqp-url-$service"
    done
    printf '{%s}' "$all" | write amqp-passwords
    for name in $amqp_names; do give "$draft/$name" $darkroom_user; done
}
certificates() { "$(dirname "$0")/certificates.sh" "$directory/tls"; }

if [ -e "$directory" ]; then
    draft=$directory
    if [ ! -e "$directory/amqp-passwords" ]; then
        users
        for name in superuser-url migration-url $(cd "$directory" && ls postgres-url-*); do
            url=$(cat "$directory/$name")
            plain=${url%"?sslmode=disable"}
            [ "$plain" = "$url" ] || url=$plain$mode
            printf '%s' "$url" >"$directory/$name.new"
            give "$directory/$name.new" $darkroom_user
            mv "$directory/$name.new" "$directory/$name"
        done
        say "$directory has a user of RabbitMQ for each service and TLS to the engines now"
    fi
    for name in $names $amqp_names; do
        [ -s "$directory/$name" ] || fail "$directory/$name is gone or empty: put it back from" \
            "your backup. A new key would not open what the old one has closed."
    done
    if [ ! -e "$directory/grafana-password" ]; then
        password | write grafana-password
        give "$directory/grafana-password" $grafana_user
    fi
    if [ ! -e "$directory/backup-keys" ]; then
        printf '{"current": 1, "keys": {"1": "%s"}}' "$(key)" | write backup-keys
        give "$directory/backup-keys" $darkroom_user
    fi
    certificates
    say "$directory is complete"
    exit 0
fi

draft=$directory.new
rm -rf "$draft"
mkdir -p "$(dirname "$directory")"
mkdir -m 0700 "$draft"

for name in phi-keys audit-keys backup-keys; do
    printf '{"current": 1, "keys": {"1": "%s"}}' "$(key)" | write $name
done
for name in blind-index-key pseudonym-key jwt-key; do key | write $name; done
password | write admin-password
password | write grafana-password

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
users

for name in $names $later; do
    [ -s "$draft/$name" ] || fail "could not make $name"
    give "$draft/$name" $darkroom_user
done
if [ "$(id -u)" = 0 ]; then
    chown $postgres_user "$draft/postgres-password"
    chown $grafana_user "$draft/grafana-password"
fi
mv "$draft" "$directory"
certificates
say "made in $directory. Back up phi-keys, audit-keys and blind-index-key apart from the database," \
    "and backup-keys apart from the backups."
