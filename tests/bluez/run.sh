#!/bin/bash
# The guest's services: network, D-Bus, the bridge to the simulated radio, bluetoothd with an agent, D-Bus over TCP.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ip link set lo up; ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up
mkdir -p /run/dbus /var/lib/bluetooth; mount -t tmpfs tmpfs /var/lib/bluetooth
dbus-daemon --system --nopidfile --nosyslog --fork
python3 -S -E /run/hci_bridge.py /dev/vport*p1 &
/usr/libexec/bluetooth/bluetoothd -n &
socat TCP-LISTEN:7777,fork,reuseaddr,nodelay UNIX-CONNECT:/run/dbus/system_bus_socket &
for _ in $(seq 100); do bluetoothctl show 2>/dev/null | grep -q Controller && break; sleep 0.1; done
# pairing needs an agent, on a Raspberry Pi as well
(echo default-agent; echo pairable on; echo power on; exec sleep infinity) | bluetoothctl --agent NoInputNoOutput &
for _ in $(seq 100); do bluetoothctl show | tr '\n' ' ' | grep -q 'Powered: yes.*Pairable: yes' && break; sleep 0.1; done
echo BLUEZ_READY
sleep infinity
