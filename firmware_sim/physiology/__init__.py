"""Simulated children: their vitals and the scenarios they go through."""
