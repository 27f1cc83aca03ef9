"""What can stop the simulator.

SimulatorError (a KidjamoError)
 ├─ PortBusy            somebody else listens where we should
 ├─ InvalidScenario     a scenario file that cannot be carried out
 ├─ UnknownTransport    an address we cannot make sense of
 ├─ TargetAway          a service that is not there right now: to be tried again
 └─ TargetRefused       a service that answered and will not take what we send
"""

from __future__ import annotations

from vitals.errors import KidjamoError


class SimulatorError(KidjamoError):
    """Root of the simulator's errors; the message is for a person to read."""


class HciPortBusy(SimulatorError):
    """Somebody else listens where we should; says what to do."""


class InvalidScenario(SimulatorError):
    """A scenario file that is wrong, or cannot befall these bracelets; says where and why."""


class UnknownTransport(SimulatorError):
    """An address we cannot make sense of, or cannot use."""


class TargetAway(SimulatorError):
    """A service that is not there right now: to be tried again."""


class TargetRefused(SimulatorError):
    """A service that answered and will not take what we send."""
