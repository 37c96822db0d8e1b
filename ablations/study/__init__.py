"""Studies: their description, their grids, and the runs that they expand to."""
