"""The report: the answer on the first screen, and below it the reasons to believe it.

``page.write_report`` writes it; ``summary.summarise`` is what the command prints.
"""
