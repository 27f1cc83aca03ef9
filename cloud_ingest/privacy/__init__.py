"""Pseudonyms, their keys, erasure of a patient and rotation of the key."""
