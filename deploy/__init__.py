"""Deployment: the one-machine stack, service units and installation scripts."""
