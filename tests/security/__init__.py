"""Attacks: folders, studies, data files and names of somebody else."""
