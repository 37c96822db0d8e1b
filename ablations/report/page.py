"""Figures and tables become one HTML file that asks nothing of any network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from ablations.report import tables, words
from ablations.report.ablation_table import ablation_table
from ablations.report.gallery import Drawn, gallery
from ablations.report.headline import answers, distrust, facts, tempers
from ablations.report.reading import Reading, read
from ablations.report.story import Story
from ablations.shards import write_bytes

if TYPE_CHECKING:
    from ablations.store import Results


def write(results: Results, story: Story) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into the folder of ``results``.

    The same results and story give the same bytes. Every file appears whole or not at all.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    KeyError
        If ``story`` names a column the runs do not have.
    """
    reading = read(results, story)
    drawn = gallery(reading)
    folder = results.folder / "figures"
    for figure in drawn:
        write_bytes(folder / f"{figure.name}.png", figure.png)
    # A figure of an earlier, different study would pass for one of this report.
    current = {f"{figure.name}.png" for figure in drawn}
    for stale in folder.glob("*.png"):
        if stale.name not in current:
            stale.unlink()
    page = results.folder / "report.html"
    write_bytes(page, render(reading, results, story, drawn).encode())
    return page


def render(reading: Reading, results: Results, story: Story, drawn: tuple[Drawn, ...]) -> str:
    """Fill the template; every name is escaped there."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures: dict[str, list[dict[str, str]]] = {}
    for figure in drawn:
        source = "data:image/png;base64," + base64.b64encode(figure.png).decode()
        figures.setdefault(figure.section, []).append(
            {"source": source, "alt": figure.alt, "caption": figure.caption, "name": figure.name}
        )
    return environment.get_template("report.html.j2").render(
        story=story,
        toml=results.study_toml,
        band=words.margin(reading.margin, reading.scale),
        answers=answers(reading),
        facts=facts(reading),
        tempers=[*tempers(reading), *distrust(results.audit)],
        figures=figures,
        **_tables(reading, results, story),
    )


def _tables(reading: Reading, results: Results, story: Story) -> dict[str, tables.Table | None]:
    return {
        "ablations": ablation_table(reading, story) if len(reading.effects) else None,
        "best": tables.best_table(reading, story)
        if reading.configurations["complete"].any()
        else None,
        "endings": tables.endings_table(reading) if len(reading.endings) else None,
        "rates": tables.rates_table(reading) if reading.rates["diverged"].sum() else None,
        "published": tables.published_table(reading.published) if len(reading.published) else None,
        "audit": tables.audit_table(results.audit, reading.runs, story)
        if len(results.audit)
        else None,
        "environment": tables.environment_table(results.environment, results.runs),
    }
