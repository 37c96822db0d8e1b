"""Foundations of all packages: errors, files, the registry, user code and random numbers."""
