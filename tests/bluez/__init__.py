"""The gateway on real BlueZ: bleak's own backend, D-Bus, bluetoothd and a kernel in a small QEMU guest.

    gateway ── D-Bus over loopback TCP ──▶ bluetoothd, kernel (guest) ── HCI over virtio-serial ──▶ Bumble
    (simulator)

The guest mounts this machine's root read-only and runs bluetoothd from there; only the kernel is downloaded.
"""
