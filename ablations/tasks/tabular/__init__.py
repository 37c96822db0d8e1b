"""From a table file to inputs and targets: reader, columns, splits."""
