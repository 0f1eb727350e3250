#!/bin/sh
# Brings a version of the chart to a cluster, proves that it works, and goes back by itself if it
# does not.
#
#   rollout.sh --release NAME --namespace NAME --chart CHART --address URL [--seconds N] [-- HELM-OPTIONS]
#
# The options after -- go to `helm upgrade`: values files, --set image.tag, --version. It is done
# when Helm has every new pod ready, /api/v1/health says `healthy` and the chart's own test passes.
# Whatever fails, the release goes back to the revision that was deployed before (a first
# installation that fails stays for one to look at), and the end is 1: a pipeline stops here.
set -eu
seconds=600
release='' namespace='' chart='' address=''
usage() {
    echo "usage: $0 --release NAME --namespace NAME --chart CHART --address URL [--seconds N] [-- HELM-OPTIONS]" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --) shift && break ;;
    --release | --namespace | --chart | --address | --seconds) [ $# -ge 2 ] || usage ;;
    *) usage ;;
    esac
    case $1 in
    --release) release=$2 ;;
    --namespace) namespace=$2 ;;
    --chart) chart=$2 ;;
    --address) address=$2 ;;
    --seconds) seconds=$2 ;;
    esac
    shift 2
done
[ -n "$release" ] && [ -n "$namespace" ] && [ -n "$chart" ] && [ -n "$address" ] || usage
here=$(dirname "$0")

in_release() {
    command=$1
    shift
    helm "$command" "$release" --namespace "$namespace" "$@"
}

# The last revision that was deployed, also when an upgrade after it has failed or hangs.
before=$(in_release history --max 256 --output json 2>/dev/null |
    python3 -c 'import json, sys
rows = [row for row in json.load(sys.stdin) if row["status"] == "deployed"]
print(rows[-1]["revision"] if rows else "")' 2>/dev/null) || before=''

works() {
    in_release upgrade "$chart" --install --wait --timeout "${seconds}s" "$@" || return 1
    "$here/smoke.sh" "$address" "$seconds" || return 1
    in_release test --timeout "${seconds}s" --logs || return 1
}

if works "$@"; then
    echo "$release works at $address"
    exit 0
fi
if [ -z "$before" ]; then
    echo "$release does not work, and there is no revision to go back to" >&2
    exit 1
fi
echo "$release does not work: back to revision $before" >&2
in_release rollback "$before" --wait --timeout "${seconds}s"
"$here/smoke.sh" "$address" "$seconds"
echo "$release is at revision $before again, and works; the new version does not" >&2
exit 1
