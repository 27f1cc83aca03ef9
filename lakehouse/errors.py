"""Errors that keep the lake from starting.

LakeError
 ├─ InvalidLakeSettings an environment variable is invalid
 ├─ UnsuitableMachine   Java, pyspark or delta-spark is missing or has the wrong version
 └─ LakeInUse           another process writes to the same lake
"""

from __future__ import annotations


class LakeError(Exception):
    """Base class of the lake's errors."""


class InvalidLakeSettings(LakeError):
    """An invalid setting; the message names it and the allowed values."""


class UnsuitableMachine(LakeError):
    """A dependency of the lake is missing or unsuitable; the message says what to install."""


class LakeInUse(LakeError):
    """Another process writes to this lake; each table has one writer."""
