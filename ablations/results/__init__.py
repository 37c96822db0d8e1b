"""What a results folder holds: tables, study, metadata, settings, environments, the answer."""
