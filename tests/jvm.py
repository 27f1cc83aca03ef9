"""How tests start Java virtual machines."""

from __future__ import annotations

QUICK_JVM = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"}
"""Environment of a JVM that runs for minutes only: its optimising compiler would cost more than it gains."""
