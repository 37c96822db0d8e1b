"""The report: the answer on the first screen, and below it why to believe it."""

from ablations.report.answer import Answer, answer, keep, known
from ablations.report.page import write
from ablations.report.reading import Effects, ablation_effects
from ablations.report.story import Published, Story

__all__ = [
    "Answer",
    "Effects",
    "Published",
    "Story",
    "ablation_effects",
    "answer",
    "keep",
    "known",
    "write",
]
