"""The report: the answer on the first screen, and below it why to believe it.

``page.write`` makes it; ``headline.answer`` is what the command prints.
"""
