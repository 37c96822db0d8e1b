"""The identity of every run of every shipped study."""

from __future__ import annotations

import hashlib
import json

from ablations import Run, Study
from tests.golden.harness import Golden, ablations


def test_every_shipped_study_asks_for_the_same_runs(golden: Golden) -> None:
    names = [line.split()[0] for line in ablations("list", "studies").out.splitlines()]
    studies = {name: runs_of(Study.find(name).with_axis("device", ["cpu"])) for name in names}
    golden("run_ids.json", json.dumps(studies, indent=1) + "\n")


def runs_of(study: Study) -> dict[str, object]:
    ids = [
        Run(configuration, seed).run_id
        for configuration in study.configurations
        for seed in study.seeds
    ]
    skipped = sum(configuration.skip is not None for configuration in study.configurations)
    return {
        "runs": len(ids),
        "skipped": skipped * len(study.seeds),
        "digest": hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest(),
        "first": ids[:3],
    }
