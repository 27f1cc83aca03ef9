"""Faults of radio links, clocks, sensors and power, and the scenario files that describe them."""
