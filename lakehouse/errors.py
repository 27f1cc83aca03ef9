"""What keeps the lake from starting.

LakeError
 ├─ InvalidSettings     a variable of the environment
 ├─ UnsuitableMachine   Java, pyspark or delta-spark missing or of the wrong version
 └─ LakeInUse           another process writes to the same lake
"""

from __future__ import annotations


class LakeError(Exception):
    """Root of the lake's own errors."""


class InvalidLakeSettings(LakeError):
    """A setting that cannot be; names it and what it may be."""


class UnsuitableMachine(LakeError):
    """Something the lake runs on is missing; says what to install."""


class LakeInUse(LakeError):
    """Another process writes to this lake; a table has one writer."""
