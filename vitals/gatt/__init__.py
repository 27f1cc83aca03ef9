"""Bluetooth bytes <-> values, one profile a module; no I/O."""
