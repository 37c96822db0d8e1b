"""Imported before the other modules: SciPy, imported with too little memory, may never return."""

from ablations.core.memory import require_memory

require_memory(300_000_000)
