"""`write`: one self-contained page about one run, or about several side by side."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from wm.errors import RunError, UserError
from wm.report import (
    aggregate,
    aggregate_section,
    compare,
    diagnosis,
    diagnosis_section,
    dream_section,
    dreams,
    hyper_section,
    reference,
    sections,
)
from wm.report.markup import text
from wm.report.record import read
from wm.report.summary import Summary, evaluations, returns, summarize

MARK = '<meta name="generator" content="wm">'
"""By which a page of ours is known."""


def write(
    runs: Sequence[Path | str],
    against: Sequence[str] | str | None = None,
    out: Path | str | None = None,
    only_csv: bool = False,
) -> Path:
    """Write `index.html`, its pictures and its numbers for one or several runs.

    The page opens from disk and needs no other file and no network. The numbers are in
    `curves.csv`, `scores.csv` (one row per seed) and `aggregates.csv` (over tasks).

    Args:
      runs: run directories.
      against: published methods to draw beside them, names of the reference tables
        or aliases (`dreamer_v3`); as one text, separated by semicolons, since names
        have commas in them.
      out: folder of the page (default: `report/` in the run, or in the folder that
        all runs share).
      only_csv: write the numbers alone.

    Returns:
      Path of `index.html`, or of the folder where there are numbers alone.

    Raises:
      UserError: no run given, or an unknown method.
      RunError: a directory that holds no run.
    """
    if not runs:
        raise UserError("wm report needs at least one run directory")
    if isinstance(against, str):
        against = [name.strip() for name in against.split(";") if name.strip()]
    against = list(against or ())
    for method in against:
        reference.method_name(method)
    paths = list(dict.fromkeys(Path(run) for run in runs))
    summaries = [summarize(read(path)) for path in paths]
    folder = place(paths, out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        families = aggregate.families(summaries, against)
        found = [aggregate_section.figures(family) for family in families]
        _export(summaries, folder / "curves.csv")
        aggregate_section.export(summaries, found, folder)
        if only_csv:
            return folder
        if len(summaries) == 1:
            page = _one(summaries[0], against, folder)
        else:
            page = _several(summaries, against, folder, found)
        file = folder / "index.html"
        _replace(file, page)
    except OSError as error:
        raise RunError(f"cannot write the report: {error}") from error
    return file


def place(paths: Sequence[Path], out: Path | str | None = None) -> Path:
    """The folder of a page about these runs.

    Raises:
      RunError: it holds a page that is not ours.
    """
    folder = Path(out) if out is not None else _folder(paths)
    if out is not None or len(paths) > 1:
        _refuse_foreign(folder)
    return folder


def _refuse_foreign(folder: Path) -> None:
    """Nothing that is not a page of ours is written over.

    Raises:
      RunError: there is something else.
    """
    file = folder / "index.html"
    if file.is_file() and MARK not in file.read_text(
        encoding="utf-8", errors="replace"
    ):
        raise RunError(f"{file} is no report of wm. Choose another folder with --out")


def _folder(paths: Sequence[Path]) -> Path:
    if len(paths) == 1:
        return paths[0] / "report"
    return Path(os.path.commonpath([path.resolve() for path in paths])) / "report"


def _one(summary: Summary, against: Sequence[str], folder: Path) -> str:
    night = dreams.dream(summary.record.path, folder, summary.best_seed())
    if isinstance(night, dreams.Night):
        dreams.pictures(night, folder)
    parts = [
        sections.answer(summary, against),
        hyper_section.best(summary),
        sections.learning(summary, against),
        dream_section.section(night),
        diagnosis_section.section(diagnosis.load(folder)),
        sections.seeds(summary, against),
        hyper_section.section(summary),
        aggregate_section.comparability([summary], against),
        sections.losses(summary),
        sections.time(summary),
        sections.again(summary),
    ]
    return _page(sections.title(summary), str(summary.record.path), parts)


def _several(
    summaries: Sequence[Summary],
    against: Sequence[str],
    folder: Path,
    found: Sequence[aggregate_section.Figures],
) -> str:
    parts = [
        compare.overview(summaries, folder),
        '<p class="note">As numbers: curves in '
        '<a href="curves.csv" download>curves.csv</a>, seeds in '
        '<a href="scores.csv" download>scores.csv</a>, aggregates in '
        '<a href="aggregates.csv" download>aggregates.csv</a>.</p>',
        aggregate_section.section(found),
        aggregate_section.comparability(summaries, against),
        *compare.environments(summaries, against),
        diagnosis_section.section(diagnosis.load(folder)),
    ]
    return _page(f"{len(summaries)} runs side by side", "", parts)


def _page(title: str, kicker: str, parts: Sequence[str]) -> str:
    files = resources.files("wm.report")
    style = files.joinpath("style.css").read_text(encoding="utf-8")
    script = files.joinpath("player.js").read_text(encoding="utf-8")
    above = f'<p class="kicker">{text(kicker)}</p>' if kicker else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'{MARK}<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{style}</style></head><body><main>"
        f"{above}<h1>{text(title)}</h1>{''.join(parts)}"
        "<footer>Written by wm report. Intervals of one task, 95 %: Student's t over "
        "the means of seeds; of one seed the bootstrap of its episodes.</footer>"
        f"</main><script>{script}</script></body></html>\n"
    )


def _export(summaries: Sequence[Summary], file: Path) -> None:
    """The curves of the page in long form."""
    head = ["run", "system", "env", "seed", "step", "frames", "metric", "value"]
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        for summary in summaries:
            who = [summary.record.name, summary.system, summary.env]
            for metric, curves in (
                ("episode/return", returns(summary)),
                ("evaluation/return", evaluations(summary)),
            ):
                for seed, series in curves.items():
                    for step, value in zip(series.steps, series.values, strict=True):
                        frames = step * summary.frames_per_step
                        writer.writerow([*who, seed, step, frames, metric, value])


def _replace(file: Path, page: str) -> None:
    """Whole or not at all: a reader never sees half a page."""
    fresh = file.with_suffix(".tmp")
    fresh.write_text(page, encoding="utf-8")
    fresh.replace(file)
