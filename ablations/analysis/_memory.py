"""Imported before the other modules: SciPy, imported with too little memory, may never return."""

from ablations.core.memory import ANALYSIS_BYTES, require_memory

require_memory(ANALYSIS_BYTES)
