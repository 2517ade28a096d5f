"""The page: the answer first, self-contained, and honest about what is missing."""

import csv
import html.parser
import json
import re

import numpy as np
import pytest

from tests.report import runs
from wm import report
from wm.errors import RunError, UserError
from wm.report import dreams


@pytest.fixture
def night(monkeypatch):
    """Dreams come from here instead of from a trained model."""
    nights = {"night": runs.image_night()}

    def compute(path, step, seed):
        night = nights["night"]
        if isinstance(night, str):
            return night
        return night._replace(step=step, seed=seed)

    monkeypatch.setattr(dreams, "_compute", compute)
    return nights


class Balance(html.parser.HTMLParser):
    """Complains about tags that do not close."""

    VOID = ("meta", "img", "input", "br", "link")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def balanced(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert not parser.open


def test_the_answer_comes_first(tmp_path, night):
    file = report.write([runs.fake_run(tmp_path / "demo")])
    assert file == tmp_path / "demo/report/index.html"
    page = file.read_text()
    balanced(page)
    words = re.sub(r"<[^>]+>", " ", page[page.index("<main>") :])
    words = re.sub(r"\s+", " ", words)
    first = words[:900]
    for part in ("dreamer_v3 on pixels/catch", "4 seeds", "14,000 environment steps"):
        assert part in first
    for part in ("95 % interval", "random (−0.6)", "optimal (1)", "2 cores"):
        assert part in first
    for part in ("Learning curves", "The dream", "Losses", "Where the time went"):
        assert part in words
    assert "wm train dreamer_v3 --env pixels/catch --seeds 4" in words


def test_the_page_needs_no_other_file(tmp_path, night):
    file = report.write([runs.fake_run(tmp_path / "a")], against=["dreamer_v3"])
    page = file.read_text()
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', page)
    outside = [a for a in addresses if not a.startswith("data:")]
    assert outside == ["curves.csv"]
    assert "url(http" not in page
    assert "#1234" not in page


def test_the_page_is_the_same_every_time(tmp_path, night):
    run = runs.fake_run(tmp_path / "a")
    first = report.write([run]).read_bytes()
    assert report.write([run]).read_bytes() == first


def test_pictures_and_curves_lie_beside_the_page(tmp_path, night):
    folder = report.write([runs.fake_run(tmp_path / "a")]).parent
    assert (folder / "dream.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "dream.webp").read_bytes()[8:12] == b"WEBP"
    rows = list(csv.DictReader((folder / "curves.csv").read_text().splitlines()))
    assert {row["metric"] for row in rows} == {"episode/return", "evaluation/return"}
    assert {row["seed"] for row in rows} == set("0123")
    assert rows[0].keys() >= {"run", "env", "step", "frames", "value"}


def test_published_curves_only_with_against(tmp_path, night):
    run = runs.fake_run(
        tmp_path / "pong",
        env="atari/Pong",
        steps=100_000,
        low=-21,
        high=5,
        observation={"shape": [64, 64, 3], "dtype": "uint8"},
        action_repeat=4,
        levels=None,
    )
    plain = report.write([run]).read_text()
    assert "DreamerV3 (2024)" not in plain
    assert "human (14.6)" in plain
    page = report.write([run], against=["dreamer_v3", "iris"]).read_text()
    balanced(page)
    assert "DreamerV3 (2024)" in page
    assert "IRIS" in page
    assert "own protocols" in page
    assert "400,000 frames" in page


def test_against_a_method_without_a_number_says_so(tmp_path, night):
    run = runs.fake_run(tmp_path / "a")
    page = report.write([run], against="dreamer_v3").read_text()
    assert "No published table covers pixels/catch" in page


def test_several_runs_are_grouped_by_environment(tmp_path, night):
    image = {"shape": [64, 64, 3], "dtype": "uint8"}
    made = [
        runs.fake_run(
            tmp_path / f"{game}-{n}",
            env=f"atari/{game}",
            steps=100_000,
            low=0,
            high=10,
            observation=image,
            action_repeat=4,
            levels=None,
            first=4 * n,
        )
        for game, n in (("Pong", 0), ("Pong", 1), ("Boxing", 0))
    ]
    report.write(made[:1])
    file = report.write(made, against="dreamer_v3; DIAMOND")
    assert file == tmp_path / "report/index.html"
    page = file.read_text()
    balanced(page)
    assert page.count("<h2>atari/Pong</h2>") == 1
    assert page.count("<h2>atari/Boxing</h2>") == 1
    assert "Atari 100k: 2 tasks together" in page
    assert 'href="../Pong-0/report/index.html"' in page
    assert "DIAMOND" in page


def test_vectors_are_drawn_as_lines(tmp_path, night):
    night["night"] = runs.vector_night()
    page = report.write([runs.fake_run(tmp_path / "a", observation=runs.VECTOR)])
    assert "observation[0]" in page.read_text()
    assert not (page.parent / "dream.png").exists()


def test_no_dream_is_said_in_a_sentence(tmp_path, night):
    night["night"] = "No dream: this system learns no world model."
    page = report.write([runs.fake_run(tmp_path / "a")]).read_text()
    assert "this system learns no world model" in page


def test_a_run_without_a_finished_episode_still_has_a_page(tmp_path, night):
    run = runs.fake_run(tmp_path / "a")
    (run / "scores.jsonl").unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row["episode/return"] = None
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    page = report.write([run]).read_text()
    balanced(page)
    assert "no score" in page


def test_a_run_that_was_killed_at_once_still_has_a_page(tmp_path, night):
    night["night"] = "No dream: nothing was saved."
    run = runs.fake_run(tmp_path / "a")
    (run / "scores.jsonl").unlink()
    (run / "metrics.jsonl").write_text("")
    (run / "versions.json").unlink()
    balanced(report.write([run]).read_text())


def test_names_are_escaped(tmp_path, night):
    run = runs.fake_run(tmp_path / "a", system="<b>&bold", env="x/<i>")
    page = report.write([run]).read_text()
    balanced(page)
    assert "<i>" not in page


def test_mistakes_are_one_line(tmp_path, night):
    run = runs.fake_run(tmp_path / "a")
    with pytest.raises(UserError, match="dreamer_pro"):
        report.write([run], against="dremer_pro")
    with pytest.raises(UserError, match="at least one run"):
        report.write([])
    with pytest.raises(RunError, match="holds no run"):
        report.write([tmp_path / "nothing"])
    (run / "metrics.jsonl").write_text('{"step": 1}\nbroken\n{"step": 2}\n')
    with pytest.raises(RunError, match="line 2"):
        report.write([run])


def test_an_unwritable_place_is_one_line(tmp_path, night):
    run = runs.fake_run(tmp_path / "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write the report"):
        report.write([run], out=tmp_path / "file" / "report")


def test_intervals_of_the_page_are_those_of_the_scores(tmp_path, night):
    from wm.report.record import read
    from wm.report.summary import summarize

    run = runs.fake_run(tmp_path / "a")
    summary = summarize(read(run))
    lines = (run / "scores.jsonl").read_text().splitlines()
    scores = [json.loads(line)["return"] for line in lines]
    assert summary.score.value == pytest.approx(np.mean(scores))
    assert summary.score.low < summary.score.value < summary.score.high
    assert summary.learned() == 4
    assert summary.fraction(0.2) == pytest.approx(0.5)
