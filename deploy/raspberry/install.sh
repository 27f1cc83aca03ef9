#!/usr/bin/env bash
# Installs the gateway on Raspberry Pi OS 12+ (64 bit) or Debian 12+: packages, account, program, units.
# Run as root from a checkout. Run it again to upgrade; configuration and data are kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '\033[1m• %s\033[0m\n' "$*" >&2; }
fail() { printf '\033[1;31m✗ %s\033[0m\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "run it as root: sudo $0"
[ "$(getconf LONG_BIT)" = 64 ] || fail "a 64-bit system is needed: flash Raspberry Pi OS (64-bit)"

say "installing system packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# bluez-tools: the agent that BlueZ needs to pair with a bracelet
# python3-lgpio: GPIO of a Raspberry Pi; PyPI does not have wheels for every Python version
apt-get install -y -qq --no-install-recommends python3-venv bluez bluez-tools mosquitto python3-lgpio >/dev/null

say "installing the gateway into /opt/kidjamo"
id kidjamo >/dev/null 2>&1 || useradd --system --home-dir /var/lib/kidjamo --shell /usr/sbin/nologin kidjamo
[ -x /opt/kidjamo/bin/python ] || python3 -m venv --system-site-packages /opt/kidjamo
/opt/kidjamo/bin/python -m pip install --quiet --upgrade --only-binary :all: --no-binary kidjamo \
    -c constraints.txt '.[edge,gpio]'
install -d /opt/kidjamo/share
install -m 0644 docs/from-box-to-bedroom.md docs/from-box-to-bedroom.fr.md /opt/kidjamo/share/

say "preparing /etc/kidjamo"
install -d -m 0750 -g kidjamo /etc/kidjamo
if [ ! -e /etc/kidjamo/gateway.toml ]; then
    install -m 0640 -g kidjamo edge_gateway/gateway.example.toml /etc/kidjamo/gateway.toml
    sed -i 's|^data_dir = .*|data_dir = "/var/lib/kidjamo"|' /etc/kidjamo/gateway.toml
fi

say "installing the units"
install -m 0644 deploy/systemd/kidjamo-gateway.service deploy/systemd/kidjamo-pairing-agent.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable --quiet --now kidjamo-pairing-agent.service
systemctl enable --quiet kidjamo-gateway.service
if systemctl is-active --quiet kidjamo-gateway.service; then systemctl restart kidjamo-gateway.service; fi

say "done. Next, edit /etc/kidjamo/gateway.toml, then run:"
say "  /opt/kidjamo/bin/kidjamo-gateway doctor --config /etc/kidjamo/gateway.toml"
say "  systemctl start kidjamo-gateway"
