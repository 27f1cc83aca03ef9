"""Pseudonyms and their keys, erasure of patients from PostgreSQL, key rotation."""
