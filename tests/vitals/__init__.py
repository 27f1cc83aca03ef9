"""Tests of the shared contract in code."""
