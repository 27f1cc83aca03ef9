"""A child process with a log file that is stopped cleanly and does not outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

START_LIMIT_S = 120.0
"""How long a server may take to start, also on a busy machine."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ServiceError(RuntimeError):
    """A service did not start; the message includes the end of its log."""


def _die_with_parent() -> None:
    """Run in the child before exec: let the kernel stop it when its parent dies, even by SIGKILL (Linux).

    The kernel's notion of a parent is the thread that started the child, so that thread must keep running.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Service:
    """One child process in its own session, so that it and its children can be stopped together.

    Attributes:
        environment: its environment variables; changes take effect at the next start.

    Args:
        name: name for messages.
        command: program and arguments.
        log: file its output is appended to.
        env: variables added to this process's environment.
        user: account to run as, for programs that refuse to run as root.
        directory: working directory; by default this process's.
        stop_signal: signal that asks it to stop.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        directory: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name, self.command, self.log = name, list(command), log
        self.environment = {**os.environ, **(env or {})}
        self._user, self._directory, self._stop_signal = user, directory, stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self.running else None

    @property
    def returncode(self) -> int | None:
        """Exit code of the last run; None while it runs or never ran."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                user=self._user,
                cwd=self._directory,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until the service is ready.

        Raises:
            ServiceError: it exited, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ServiceError(f"{self.name} exited with code {self.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} was not ready after {timeout_s:g} s:\n{self.tail()}")
            time.sleep(0.1)

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children."""
        if self._process and self.running:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the process to exit; return its exit code, or None on timeout."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout_s)
        return None

    def kill(self) -> None:
        """Kill the process and its children, like a power cut."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self, timeout_s: float = 20) -> None:
        """Ask the process to stop, wait, then kill whatever is left of its session."""
        if not self._process:
            return
        if self.running:
            self.signal(self._stop_signal)
            self.wait(timeout_s)
        self.kill()

    def __enter__(self) -> Self:
        """Start the process."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the process."""
        self.stop()
