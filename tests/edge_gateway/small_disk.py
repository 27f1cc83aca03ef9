"""A real file system of a few MiB that can be filled and made read-only. Mounting needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted file system.

    Attributes:
        path: where it is mounted.
    """

    path: Path

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            for size in (65536, 4096, 1):
                with suppress(OSError):
                    while True:
                        ballast.write(bytes(size))

    def free(self) -> None:
        """Free the space that `fill` used."""
        (self.path / "ballast").unlink()

    def remount(self, how: str) -> None:
        """Remount with `ro` or `rw`; no file may be open for writing."""
        _run("mount", "-o", f"remount,{how}", str(self.path))

    def break_down(self) -> None:
        """Make the kernel detect an error and refuse further writes, as with a worn SD card."""
        device = next(
            line.split()[0]
            for line in Path("/proc/mounts").read_text().splitlines()
            if str(self.path) in line
        )
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel cannot trigger an ext4 error")
        trigger.write_text("1")


@contextmanager
def a_small_disk(path: Path, mib: int = 16) -> Iterator[SmallDisk]:
    """Mount a tmpfs of a few MiB."""
    path.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", str(path))


def an_image(path: Path, mib: int = 8) -> Path:
    """Create a file with an ext4 file system, to be mounted with `mounted`."""
    with path.open("wb") as file:
        file.truncate(mib * _MIB)
    try:
        _run("mkfs.ext4", "-q", "-O", "^has_journal", str(path))
    except FileNotFoundError:
        pytest.skip("mkfs.ext4 is not installed")
    return path


@contextmanager
def mounted(image: Path, path: Path) -> Iterator[SmallDisk]:
    """Check an image and mount it over a loop device."""
    path.mkdir(exist_ok=True)
    subprocess.run(["e2fsck", "-p", str(image)], check=False, capture_output=True)
    _mount("-o", "loop,errors=remount-ro", str(image), str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", str(path))


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
