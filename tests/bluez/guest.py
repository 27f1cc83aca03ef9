"""Builds and runs the guest. Downloads and builds are cached by the kernel's version."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from deploy.local.cache import cache_dir
from deploy.local.ports import free_port
from deploy.local.process import Service

HERE = Path(__file__).parent
PACKAGES = ("qemu-system-x86", "bluez", "dbus", "socat", "busybox-static", "cpio", "kmod")
KERNEL = "linux-image-amd64"
BOOT_S = 120
_PROGRAMS = (
    "qemu-system-x86_64",
    "bluetoothctl",
    "dbus-daemon",
    "socat",
    "busybox",
    "cpio",
    "modprobe",
    "depmod",
)
_MODULES = (
    # without the first five, pairing pretends to succeed
    "drbg jitterentropy_rng sha512_generic hmac ctr "
    "virtio_pci 9pnet_virtio 9p overlay crypto_user algif_hash algif_skcipher cmac aesni_intel ccm ecb "
    "ecdh_generic hci_vhci uhid virtio_console virtio_rng virtio_net"
)


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_ENVIRONMENT = {**os.environ, "PATH": _PATH}


class GuestUnavailable(RuntimeError):
    """The guest cannot be built or does not start; the message names the remedy."""


def kernel_package() -> str | None:
    """Return the name of the newest Debian kernel that apt offers; None if there is none."""
    if not shutil.which("apt-cache"):
        return None
    printed = subprocess.run(
        ["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"Depends: (linux-image-\S+)", printed)
    return found[1] if found else None


@asynccontextmanager
async def guest(hci_socket: Path, log: Path) -> AsyncIterator[str]:
    """Run a guest that is connected to a simulated radio.

    Args:
        hci_socket: the simulator's HCI socket.
        log: the guest's console.

    Yields:
        The address of its D-Bus system bus.

    Raises:
        GuestUnavailable: a package is missing, or the guest did not start.
    """
    kernel, initramfs = await asyncio.to_thread(_built)
    port = free_port()
    machine = Service("guest", _command(kernel, initramfs, hci_socket, port), log=log)
    await asyncio.to_thread(machine.start)
    try:
        await asyncio.to_thread(_wait_until_ready, machine, log)
        yield f"tcp:host=127.0.0.1,port={port}"
    finally:
        await asyncio.to_thread(machine.stop)


def _wait_until_ready(machine: Service, log: Path) -> None:
    deadline = time.monotonic() + BOOT_S
    while "BLUEZ_READY" not in (console := log.read_text(errors="replace")):
        if not machine.running or time.monotonic() > deadline:
            raise GuestUnavailable(f"the guest did not start:\n{console[-2000:]}")
        time.sleep(0.2)


def _command(kernel: Path, initramfs: Path, hci_socket: Path, port: int) -> list[str]:
    """Return the QEMU command. It always emulates the processor: /dev/kvm may exist and not work."""
    options = {
        "-machine": "q35,usb=off,smbus=off",
        "-accel": "tcg",
        "-cpu": "max",
        "-smp": "1",
        "-m": "512",
        "-display": "none",
        "-serial": "stdio",
        "-kernel": str(kernel),
        "-initrd": str(initramfs),
        "-append": "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off random.trust_cpu=on",
        "-fsdev": "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-netdev": f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:7777",
        "-chardev": f"socket,id=hci,path={hci_socket}",
    }
    devices = (
        "virtio-9p-pci,fsdev=root,mount_tag=hostroot",
        "virtio-rng-pci",
        "virtio-net-pci,netdev=net,romfile=",
        "virtio-serial-pci",
        "virtserialport,chardev=hci,nr=1,name=hci",
    )
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]
    command += [word for pair in options.items() for word in pair]
    return command + [word for device in devices for word in ("-device", device)]


def _built() -> tuple[Path, Path]:
    """Return kernel and initramfs, from the cache or built now."""
    package = kernel_package()
    missing = [name for name in _PROGRAMS if not shutil.which(name, path=_PATH)]
    if missing or package is None:
        raise GuestUnavailable(
            f"missing: {', '.join(missing) or KERNEL}; sudo apt-get install {' '.join(PACKAGES)}, "
            'or leave these tests out with -m "not bluez"'
        )
    directory = cache_dir() / "bluez" / package
    kernel = next(directory.glob("root/boot/vmlinuz-*"), None) or _fetch(package, directory)
    initramfs = directory / f"initramfs-{_digest()}.img"
    if not initramfs.exists():
        _build(directory / "root", kernel.name.removeprefix("vmlinuz-"), initramfs)
    return kernel, initramfs


def _digest() -> str:
    parts = [(HERE / name).read_bytes() for name in ("init.sh", "run.sh", "hci_bridge.py")]
    return sha256(b"".join([*parts, _MODULES.encode()])).hexdigest()[:12]


def _fetch(package: str, directory: Path) -> Path:
    """Download and unpack the kernel without installing it."""
    directory.mkdir(parents=True, exist_ok=True)
    _run("apt-get", "download", package, directory=directory)
    archive = next(directory.glob("*.deb"))
    _run("dpkg-deb", "-x", str(archive), "root", directory=directory)
    archive.unlink()
    kernel = next(directory.glob("root/boot/vmlinuz-*"))
    _run("depmod", "-b", "root", kernel.name.removeprefix("vmlinuz-"), directory=directory)
    return kernel


def _build(root: Path, version: str, image: Path) -> None:
    """Build an archive with busybox, the modules in load order, and the scripts of this folder."""
    tree = image.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "proc", "sys", "dev", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox", path=_PATH) or "", tree / "bin" / "busybox")
    for name in ("init.sh", "run.sh", "hci_bridge.py"):
        shutil.copy(HERE / name, tree / name)
    (tree / "init.sh").rename(tree / "init")
    (tree / "init").chmod(0o755)
    files: dict[str, None] = {}
    for module in _MODULES.split():
        needed = subprocess.run(
            ["modprobe", "-S", version, "-d", str(root), "--show-depends", module],
            capture_output=True, text=True, check=False, env=_ENVIRONMENT,
        ).stdout  # fmt: skip
        files |= dict.fromkeys(line.split()[1] for line in needed.splitlines() if line.startswith("insmod"))
    for file in files:
        shutil.copy(file, tree / "modules")
    (tree / "modules" / "order").write_text("".join(f"{Path(file).name}\n" for file in files))
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"],
        input=names.encode(),
        capture_output=True,
        check=True,
        cwd=tree,
    ).stdout
    unfinished = image.with_suffix(".part")
    unfinished.write_bytes(gzip.compress(archive, 1))
    unfinished.rename(image)
    shutil.rmtree(tree)


def _run(*command: str, directory: Path) -> None:
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, env=_ENVIRONMENT
    )
    if done.returncode:
        raise GuestUnavailable(f"{' '.join(command)}: {done.stderr.strip()}")
