"""The description of machine and installation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ablations.results import environment


def test_description_is_plain_data_and_the_same_every_time() -> None:
    described = environment.describe()
    assert json.loads(json.dumps(described)) == described
    assert environment.identify(described) == environment.identify(environment.describe())
    assert described["cores"] >= 1
    assert described["packages"]["torch"] >= "2.11"


def test_another_version_is_another_environment() -> None:
    described = environment.describe()
    changed = described | {"packages": described["packages"] | {"torch": "0"}}
    assert environment.identify(changed) != environment.identify(described)


def test_the_commit_is_that_of_the_folder_it_was_installed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    url = json.dumps({"url": tmp_path.as_uri()})
    installed = SimpleNamespace(version="0", read_text=lambda name: url)
    monkeypatch.setattr(environment, "__file__", "/site-packages/ablations/results/environment.py")

    def distribution(name: str) -> Any:
        return installed

    monkeypatch.setattr("importlib.metadata.distribution", distribution)
    assert environment.describe()["commit"] == git("rev-parse", "--short=12", "HEAD")


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert environment.describe()["commit"] == ""
