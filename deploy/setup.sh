#!/usr/bin/env bash
# Installs what `make demo` and, with the argument "tests", `make test` need on a fresh Debian, Ubuntu or Raspberry Pi
# OS machine: system packages, the virtual environment, the jars. Safe to run again; nothing is fetched twice.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m• %s\033[0m\n' "$*" >&2; }
fail() { printf '\033[1;31m✗ %s\033[0m\n' "$*" >&2; exit 1; }

# --- System packages -------------------------------------------------------------------------------------------------
java_version() { java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'; }
java_package() { apt-cache show openjdk-17-jre-headless >/dev/null 2>&1 && echo openjdk-17-jre-headless || echo default-jre-headless; }

install_missing() {
    local needed=("$@") apt=()
    command -v apt-get >/dev/null || fail "missing: ${needed[*]}. Install them with your system's package manager, then run this again."
    if [ "$(id -u)" = 0 ]; then apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
    elif sudo -n true 2>/dev/null; then apt=(sudo -n env DEBIAN_FRONTEND=noninteractive apt-get)
    else fail "missing: ${needed[*]}. Install them with: sudo apt-get install ${needed[*]}"
    fi
    say "installing ${needed[*]}"
    "${apt[@]}" update -qq >/dev/null || say "apt-get update failed; continuing with the existing package lists"
    "${apt[@]}" install -y -qq --no-install-recommends "${needed[@]}" >/dev/null \
        || fail "apt could not install ${needed[*]}. Try: sudo apt-get install ${needed[*]}"
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "$candidate"; return
        fi
    done
    fail "Python 3.11 or newer is needed: sudo apt-get install python3 (Debian 12+, Ubuntu 24.04+, Raspberry Pi OS 12+)"
}

python=$(find_python)
missing=()
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
[ "$(java_version 2>/dev/null || true)" -ge 17 ] 2>/dev/null || missing+=("$(java_package)")
PATH=$PATH:/usr/sbin command -v mosquitto >/dev/null || missing+=(mosquitto)
command -v mosquitto_pub >/dev/null || missing+=(mosquitto-clients)
if [ "${1:-}" = tests ] && [ "$(uname -m)" = x86_64 ] && grep -qs '^ID=debian' /etc/os-release; then
    # the virtual machine that tests the gateway with the real BlueZ (tests/bluez)
    while read -r program package; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("$package")
    done <<-'PROGRAMS'
	qemu-system-x86_64 qemu-system-x86
	bluetoothctl bluez
	dbus-daemon dbus
	socat socat
	busybox busybox-static
	cpio cpio
	modprobe kmod
	PROGRAMS
fi
if [ "${1:-}" = tests ] && grep -qs '^ID=debian' /etc/os-release; then
    command -v chromium >/dev/null || missing+=(chromium)  # the browser that tests the carers' page
fi
if [ ${#missing[@]} -gt 0 ]; then install_missing "${missing[@]}"; fi

# --- Virtual environment ---------------------------------------------------------------------------------------------
stamp=.venv/.installed-$(cat pyproject.toml constraints.txt deploy/setup.sh | sha256sum | cut -c1-16)
if [ ! -e "$stamp" ]; then
    say "installing Python packages into .venv"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(sed -n 's/^uv==//p' constraints.txt)"
    .venv/bin/uv pip install --quiet --python .venv/bin/python -c constraints.txt \
        -e '.[edge,sim,cloud,lake,dashboards]' --group local --group dev
    rm -f .venv/.installed-*
    touch "$stamp"
fi

# --- Jars ------------------------------------------------------------------------------------------------------------
.venv/bin/python -m deploy.local.fetch
