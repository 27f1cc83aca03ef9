"""Simulated bracelets and a real gateway process, shared by chaos runs, benchmarks and tests of the link."""
