#!/bin/sh
# Waits until /api/v1/health of the given address says `healthy` several times in a row; else fails
# and says what was answered last.
#
#   smoke.sh https://darkroom.example.org [seconds, 120]
#
# One good answer can come from the one replica of the former version that still serves: five in a
# row come from those that will stay. DARKROOM_SMOKE_CA names a file with the authority to trust.
set -eu
url=${1:?usage: smoke.sh ADDRESS [SECONDS]}
limit=${2:-120}
wanted=5
end=$(($(date +%s) + limit))
body=$(mktemp)
trap 'rm -f "$body"' EXIT
good=0
while :; do
    status=$(curl --silent --show-error --max-time 10 ${DARKROOM_SMOKE_CA:+--cacert "$DARKROOM_SMOKE_CA"} \
        --output "$body" --write-out '%{http_code}' "${url%/}/api/v1/health" 2>"$body.error") || status=000
    said=$(head -c 2000 "$body"; head -c 500 "$body.error")
    rm -f "$body.error"
    if [ "$status" = 200 ] && grep -q '"status" *: *"healthy"' "$body"; then
        good=$((good + 1))
        if [ "$good" -ge "$wanted" ]; then
            echo "healthy: $url"
            exit 0
        fi
    else
        good=0
        echo "not healthy yet ($status): $said" >&2
        if [ "$(date +%s)" -ge "$end" ]; then
            echo "not healthy within $limit s: $url" >&2
            exit 1
        fi
    fi
    : >"$body"
    sleep "${DARKROOM_SMOKE_INTERVAL:-2}"
done
