"""The report: the answer on the first screen, and below it why to believe it."""

from ablations.report.page import write
from ablations.report.reading import ablation_effects, design
from ablations.report.story import Published, Story

__all__ = ["Published", "Story", "ablation_effects", "design", "write"]
