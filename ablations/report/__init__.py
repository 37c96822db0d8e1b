"""The report: the answer on the first screen, and below it why to believe it."""

from ablations.report.headline import tempers
from ablations.report.page import write
from ablations.report.reading import Effects, ablation_effects
from ablations.report.story import Published, Story

__all__ = ["Effects", "Published", "Story", "ablation_effects", "tempers", "write"]
