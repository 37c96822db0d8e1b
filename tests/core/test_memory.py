"""A process whose memory is limited says so before a library ends it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ablations.core.memory import is_limited, require_memory, spare_memory

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits are those of Linux"
)

PROGRAM = """
import os
from ablations.core.memory import is_limited, spare_memory, require_memory

assert is_limited()
spare_memory()
names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_DEFAULT_MEMORY_POOL"
print(*map(os.environ.get, names))
require_memory(10_000_000)
try:
    require_memory(400_000_000)
except MemoryError:
    print("too little")
"""


def test_a_limit_of_memory_is_noticed() -> None:
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    result = subprocess.run(
        ["sh", "-c", 'ulimit -v 300000; exec "$0" -c "$1"', sys.executable, PROGRAM],
        capture_output=True,
        text=True,
        env=environment | {"OPENBLAS_NUM_THREADS": "3"},
        check=False,
    )
    assert result.stdout == "1 3 system\ntoo little\n", result.stderr


def test_without_a_limit_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if not is_limited():
        spare_memory()
        require_memory(10**15)
        assert "OMP_NUM_THREADS" not in os.environ
