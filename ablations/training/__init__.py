"""Engines: how runs become results."""
