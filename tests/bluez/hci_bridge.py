"""Runs in the guest: connects the virtio-serial port of the simulated radio to the kernel's controller.

    python3 -S -E hci_bridge.py /dev/vport1p1

The kernel takes one whole packet a write (H4 framing), a serial port gives bytes as they come. Only the
standard library, and of that little: the guest starts without site packages.
"""

import os
import select
import sys

CREATE_CONTROLLER = b"\xff\x00"
VENDOR = 0xFF
COMMAND, ACL, SCO, EVENT, ISO = 1, 2, 3, 4, 5
HEADERS = {COMMAND: 4, ACL: 5, SCO: 4, EVENT: 3, ISO: 5}


def length_of(packet: bytes) -> int:
    """Return the length of the packet that begins here; 0 while its header is incomplete."""
    if not packet or len(packet) < HEADERS[packet[0]]:
        return 0
    kind = packet[0]
    if kind == ACL:
        payload = packet[3] | packet[4] << 8
    elif kind == ISO:
        payload = packet[3] | (packet[4] & 0x3F) << 8
    else:
        payload = packet[HEADERS[kind] - 1]
    return HEADERS[kind] + payload


def main(serial_port: str) -> None:
    """Forward packets in both directions until the port closes."""
    port, kernel = os.open(serial_port, os.O_RDWR), os.open("/dev/vhci", os.O_RDWR)
    os.write(kernel, CREATE_CONTROLLER)
    waiting = b""
    while True:
        for ready in select.select([port, kernel], [], [])[0]:
            if ready == kernel:
                packet = os.read(kernel, 8192)
                while packet and packet[0] != VENDOR:
                    packet = packet[os.write(port, packet) :]
            elif data := os.read(port, 65536):
                waiting += data
                while 0 < (length := length_of(waiting)) <= len(waiting):
                    os.write(kernel, waiting[:length])
                    waiting = waiting[length:]
            else:
                return


if __name__ == "__main__":
    main(sys.argv[1])
