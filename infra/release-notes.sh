#!/bin/sh
# Prints what CHANGELOG.md says of a version; fails when it says nothing.
#
#   release-notes.sh 1.2.3
set -eu
version=${1:?usage: release-notes.sh VERSION}
changelog=${2:-$(dirname "$0")/../CHANGELOG.md}
notes=$(awk -v title="## $version" '
    /^## / { on = ($0 == title || index($0, title " ") == 1); next }
    on' "$changelog")
if [ -z "$(printf '%s' "$notes" | tr -d '[:space:]')" ]; then
    echo "CHANGELOG.md says nothing of $version" >&2
    exit 1
fi
printf '%s\n' "$notes"
