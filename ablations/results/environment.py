"""The machine, the versions and the commit: what may change a number or a time."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ablations.core.errors import RequestError
from ablations.core.files import digest, read_parsed, write_text

ENVIRONMENT_FILE = "environment.json"

_PACKAGES = ("ablations", "torch", "numpy", "pandas", "scikit-learn", "joblib", "pyarrow")
_REPORT_PACKAGES = ("scipy", "statsmodels", "matplotlib", "seaborn", "jinja2")

SWITCHES = (
    *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
    *("ONEDNN_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "ONEDNN_DEFAULT_FPMATH_MODE"),
    *("DNNL_MAX_CPU_ISA", "DNNL_CPU_ISA_HINTS", "DNNL_DEFAULT_FPMATH_MODE", "OPENBLAS_CORETYPE"),
    *("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "CUBLAS_WORKSPACE_CONFIG"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
)
"""Variables of the environment that select other instructions, or another precision, and so change
how numbers are rounded."""


def describe() -> dict[str, Any]:
    """Describe this machine and installation as plain data, the same every time."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1,
        "threads_per_worker": 1,
        "packages": {name: _version(name) for name in _PACKAGES},
        "switches": {name: value for name in SWITCHES if (value := os.environ.get(name))},
        "commit": _commit(),
    }


def identify(description: Mapping[str, Any]) -> str:
    """Return a short hash of a description; rows of the results name their environment by it."""
    return digest(json.dumps(description, sort_keys=True).encode(), size=6)


def sources() -> str:
    """Return a hash of this package's files and of the versions that a report depends on."""
    package = Path(__file__).parents[1]
    files = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".j2", ".toml"))
    versions = [_version(name) for name in (*_PACKAGES, *_REPORT_PACKAGES)]
    content = b"".join(path.read_bytes() for path in files)
    return digest(content + repr(versions).encode())


def read_environments(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the environments in which runs of a results folder were trained, by id."""
    path = folder / ENVIRONMENT_FILE
    if not path.exists():
        return {}
    environments = read_parsed(path, json.loads)
    if not isinstance(environments, dict):
        raise RequestError("expected a JSON object of environments", source=str(path))
    for name, description in environments.items():
        if description == {}:
            continue  # a repair found no description
        if not _is_description(description) or identify(description) != name:
            message = f"the environment '{name}' was changed since it was written"
            raise RequestError(message, source=str(path))
    return environments


def _is_description(description: object) -> bool:
    """Whether it is what ``describe`` returns, of this version or another one."""
    if not isinstance(description, dict):
        return False
    packages, plain = description.get("packages"), (str, int, float, type(None))
    values = list[object]()
    for value in description.values():
        values += value.values() if isinstance(value, dict) else [value]
    return (
        isinstance(packages, dict)
        and all(isinstance(version, str) for version in packages.values())
        and all(isinstance(value, plain) for value in values)
    )


def write_environments(folder: Path, environments: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the environments of a results folder, by id."""
    text = json.dumps(environments, indent=2, sort_keys=True) + "\n"
    write_text(folder / ENVIRONMENT_FILE, text)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _commit() -> str:
    """Return the commit of the checkout that this package is, or was installed from; else ""."""
    source, git = _checkout(), shutil.which("git")
    if source is None or git is None:
        return ""
    command = [git, "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        process = subprocess.run(  # noqa: S603  (a fixed command on our own folder)
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _checkout() -> Path | None:
    """Return the root of the git checkout of this package, if there is one."""
    candidates = [Path(__file__).resolve().parents[2]]
    with suppress(metadata.PackageNotFoundError):
        # PEP 610: pip records the folder that it installed from.
        record = metadata.distribution("ablations").read_text("direct_url.json")
        if record and (url := urlsplit(json.loads(record)["url"])).scheme == "file":
            candidates.append(Path(url2pathname(url.path)))
    return next((path for path in candidates if (path / ".git").exists()), None)
