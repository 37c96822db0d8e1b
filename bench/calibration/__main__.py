"""How often verdicts err: ``python -m bench.calibration [NAME ...] [--studies N]``.

Each simulation is a module of this folder with ``measure(studies)`` and a number of ``STUDIES``; it
generates studies of which the truth is known and judges them as a user's study is judged.  Prints
the rates with their intervals, and writes those of all that ran into ``rates.csv``.  The same
command gives the same numbers.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

import pandas as pd

import bench.calibration

FOLDER = Path(__file__).parent
SUPPORT = {"__main__", "rates"}


def simulation_names() -> list[str]:
    """Return the names of all simulations."""
    modules = pkgutil.iter_modules(bench.calibration.__path__)
    return sorted(module.name for module in modules if module.name not in SUPPORT)


def main() -> None:
    """Run simulations and write their rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*simulation_names(), []], metavar="NAME")
    parser.add_argument("--studies", type=int, help="studies of each setting")
    parser.add_argument("--out", type=Path, default=FOLDER / "rates.csv")
    arguments = parser.parse_args()
    names = arguments.names or simulation_names()
    tables = []
    for name in names:
        module = importlib.import_module(f"bench.calibration.{name}")
        table = module.measure(arguments.studies or module.STUDIES)
        print(f"\n{name}\n{table.to_string(index=False, float_format='{:.3f}'.format)}", flush=True)
        tables.append(table.assign(simulation=name))
    rates = pd.concat(tables, ignore_index=True)
    if arguments.out.exists():
        others = pd.read_csv(arguments.out)
        rates = pd.concat([others[~others["simulation"].isin(names)], rates], ignore_index=True)
    rates = rates.sort_values("simulation", kind="stable")
    rates.to_csv(arguments.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
