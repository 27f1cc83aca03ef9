"""Simulated children: their vitals and the scenarios that change them."""
