"""Codecs of Bluetooth profiles, one module per profile. No I/O."""
