"""Errors of the simulator.

SimulatorError (a KidjamoError)
 ├─ HciPortBusy         the HCI port is already in use
 ├─ InvalidScenario     a scenario file that is malformed or does not fit the bracelets
 ├─ UnknownTransport    an HCI transport that is unknown or cannot be opened
 ├─ TargetUnavailable   a service cannot be reached now; retry
 └─ TargetRefused       a service answered and rejects the readings; do not retry
"""

from __future__ import annotations

from vitals.errors import KidjamoError


class SimulatorError(KidjamoError):
    """Base class of the simulator's errors; the message is shown to the user."""


class HciPortBusy(SimulatorError):
    """The HCI port is already in use; the message says what to do."""


class InvalidScenario(SimulatorError):
    """A scenario file that is malformed or does not fit the bracelets; the message says where and why."""


class UnknownTransport(SimulatorError):
    """An HCI transport that is unknown or cannot be opened."""


class TargetUnavailable(SimulatorError):
    """A service cannot be reached now; retry."""


class TargetRefused(SimulatorError):
    """A service answered and rejects the readings; do not retry."""
