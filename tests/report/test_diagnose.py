"""`wm diagnose`: what is refused, what is written, what the page says."""

import json

import numpy as np
import pytest

import wm
from tests.report.runs import fake_run
from tests.report.test_page import balanced
from wm import cli, report
from wm.errors import RunError, UserError
from wm.report import diagnosis, diagnosis_section, dreams
from wm.report.calibration import NOMINAL, Calibration
from wm.report.diagnose import Heldout, errors_of
from wm.report.diagnosis import Diagnosis, Point
from wm.train import rundir
from wm.train.foresight import Foresight, Windows
from wm.train.run import load
from wm.train.schedule import Schedule
from wm.types import Belief, Step, TimeStep

H = 6


def points(run="a", seeds=2, checkpoints=3, belief=True, sign=-1.0):
    """Checkpoints whose errors fall as returns rise."""
    known = Calibration(0.1, NOMINAL**2, np.ones(10), np.full(10, 2.0), 0.5)
    for data in diagnosis.KINDS:
        for seed in range(seeds):
            for step in range(1, checkpoints + 1):
                score = float(10 * step + seed)
                yield Point(
                    run,
                    "pets",
                    seed,
                    step * 100,
                    score,
                    data,
                    mse=np.exp(sign * score / 9),
                    open_loop=float("inf") if step == 1 else 1 / step,
                    nll=known.nll * step if belief else float("nan"),
                    growth=np.linspace(0.1, 1, H) / step,
                    calibration=known if belief else None,
                )


def found(*groups):
    every = tuple(point for group in groups for point in group)
    still = dict.fromkeys(diagnosis.KINDS, np.linspace(0.2, 2, H))
    return Diagnosis("x/y", H, every, still, diagnosis.correlate(every))


def test_errors_are_those_of_a_model_that_is_known_to_be_wrong():
    """Three windows, the last of which lasts a single step. One entry of two is a
    constant; the other spreads by 2, and beliefs of it are wrong by one deviation."""
    frames = np.arange(12.0).reshape(2, 6, 1).repeat(2, 2)
    steps = Step(TimeStep(frames, *[np.zeros((2, 6))] * 4), None, {})
    inside = np.array([[True, True, True], [True, True, False]])
    begin = Windows(np.array([0, 0, 1]), np.array([0, 3, 4]), inside)
    distance = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 99.0]], np.float32)
    mean = np.array([[1.0, 0.0], [4.0, 0.0], [11.0, 0.0]]) + 2.0
    belief = Belief(mean, np.full((3, 2), 4.0))
    weights = np.array([0.25, 0.0])
    data = Heldout(steps, begin, distance)

    errors = errors_of(Foresight(distance, belief), data, weights)
    assert errors["mse"] == pytest.approx(14 / 3)
    np.testing.assert_allclose(errors["growth"], [2.0, 5.0])
    assert errors["open_loop"] == 5.0
    assert errors["nll"] == pytest.approx(0.5 + 0.5 * np.log(2 * np.pi))
    known = errors["calibration"]
    np.testing.assert_array_equal(known.coverage, NOMINAL > 0.68)
    np.testing.assert_allclose(known.spread, 1.0)
    np.testing.assert_allclose(known.error, 1.0)

    # No number is infinitely wrong; a model without a belief has no likelihood.
    distance[0, 1] = np.nan
    silent = errors_of(Foresight(distance, None), data, weights)
    assert silent["mse"] == silent["growth"][0] == np.inf
    assert silent["open_loop"] == 5.0
    assert np.isnan(silent["nll"])
    certain = belief._replace(variance=np.zeros((3, 2)))
    assert errors_of(Foresight(distance, certain), data, weights)["calibration"] is None


def test_correlations_are_over_all_runs_and_over_each():
    both = found(points("a"), points("b", sign=1.0))
    rho = {(c.run, c.data, c.measure): c.rho.value for c in both.correlations}
    assert len(rho) == 3 * 2 * 3
    assert rho["a", "agent", "mse"] == -1
    assert rho["b", "random", "mse"] == 1
    assert abs(rho["", "agent", "mse"]) < 0.5
    # Infinite errors are the worst, and equal.
    assert -1 < rho["a", "agent", "open_loop"] < -0.8
    without = found(points(belief=False))
    assert {c.points for c in without.correlations if c.measure == "nll"} == {0}


def test_what_is_saved_is_read_again(tmp_path):
    one = found(points("a"), points("b", belief=False))
    diagnosis.save(tmp_path, one)
    again = diagnosis.load(tmp_path)
    assert again.runs == ["a", "b"]
    assert again.correlations[0] == one.correlations[0]
    np.testing.assert_array_equal(again.points[1].growth, one.points[1].growth)
    coverage = again.points[1].calibration.coverage
    np.testing.assert_array_equal(coverage, NOMINAL**2)
    assert np.isnan(again.points[0].open_loop)  # JSON knows no infinity
    json.loads((tmp_path / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    lines = (tmp_path / "diagnosis.csv").read_text().splitlines()
    assert lines[0].startswith("run,system,seed,step,return,data,mse,open_loop,nll")
    assert len(lines) == 1 + len(one.points)
    (tmp_path / "diagnosis.json").write_text("{")
    assert diagnosis.load(tmp_path) is None


def test_the_page_shows_a_diagnosis_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(dreams, "_compute", lambda *args: "No dream.")
    run = fake_run(tmp_path / "demo")
    assert "diagnosed" not in report.write([run]).read_text()
    diagnosis.save(run / "report", found(points("a"), points("b")))
    page = report.write([run]).read_text()
    balanced(page)
    for words in ("The model, diagnosed", "ρ = −1.00", "How far does it see?"):
        assert words in page
    assert "Does it know how wrong it is?" in page
    assert "Too sure by" in page


def test_a_section_says_how_far_each_kind_of_data_reaches():
    one = found(points())
    assert "error is that after 6 steps. In" in diagnosis_section.section(one)
    short = {**one.standing, "random": one.standing["random"][:1]}
    cut = one._replace(standing=short)
    assert cut.horizons == {"agent": 6, "random": 1}
    said = "after 6 steps (agents' episodes) and 1 step (random actions). In"
    assert said in diagnosis_section.section(cut)


def test_a_section_says_what_is_missing():
    assert diagnosis_section.section(None) == ""
    few = found(points(seeds=1, checkpoints=1, belief=False))
    page = diagnosis_section.section(few)
    balanced(page)
    assert "needs at least 4 checkpoints; there is 1" in page
    assert "state no belief" in page


# Runs that cannot be diagnosed.


def described(path, system, task, checkpoint=True, **options):
    """A run directory without training; its checkpoint is only a name."""
    env = wm.env(task, **options)
    agent = wm.agent(system, env.spec)
    rundir.write(path, rundir.describe(agent, env, Schedule(), 1, 0))
    if checkpoint:
        (path / "checkpoints" / "100").mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("system", "task", "options"),
    [
        ("ppo", "gymnax/CartPole-v1", {}),
        ("mpc", "classic/cartpole_swingup", {"rules": True}),
    ],
)
def test_a_system_without_a_learned_model_is_refused(
    tmp_path, capsys, system, task, options
):
    run = described(tmp_path / "a", system, task, **options)
    assert cli.main(["diagnose", str(run)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert f"{system} learns no world model, so there is none to diagnose" in line


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    run = described(tmp_path / "a", "dyna_q", "grid/dyna_maze", checkpoint=False)
    with pytest.raises(RunError, match="has no checkpoint yet"):
        wm.diagnose(run)


def test_environments_are_not_mixed(tmp_path):
    first = described(tmp_path / "a", "dyna_q", "grid/dyna_maze")
    second = described(tmp_path / "b", "dyna_q", "grid/blocking")
    with pytest.raises(UserError, match="diagnose runs of one environment together"):
        wm.diagnose([first, second])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "needs at least one RUN"),
        (["--horizn", "3"], 2, "Did you mean --horizon"),
        (["gone"], 1, "gone: no such folder"),
        (["."], 1, "holds no run: config.json is missing"),
        (["RUN", "--horizon", "0"], 2, "--horizon must be at least 1, got 0"),
        (["RUN", "--since", "101"], 2, "--since 101 leaves no checkpoint"),
    ],
)
def test_bad_command_lines(tmp_path, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(tmp_path)
    run = described(tmp_path / "run", "dyna_q", "grid/dyna_maze")
    words = [word.replace("RUN", str(run)) for word in words]
    assert cli.main(["diagnose", *words]) == code
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


# A run that can.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Dyna-Q in a maze: 120 steps, a checkpoint every 30."""
    env = wm.env("grid/dyna_maze", time_limit=30)
    agent = wm.agent("dyna_q", env.spec, planning_steps=5)
    total = {**agent.schedule, "total": 120, "log_steps": 30, "eval_episodes": 2}
    schedule = Schedule(**{**total, "save_steps": 30, "keep_checkpoints": None})
    path = tmp_path_factory.mktemp("runs") / "maze"
    wm.train(agent, env, schedule, seeds=2, out=path, quiet=True)
    return path


def test_old_checkpoints_stay_where_that_is_asked_for(trained):
    run = load(trained)
    assert run.saved() == [30, 60, 90, 120]
    known = [int(run.state(0, step).params["model"].clock) for step in run.saved()]
    assert known == [29, 59, 89, 119]  # the newest step is learned with the next
    with pytest.raises(UserError, match="no checkpoint 31"):
        run.state(0, 31)


def test_a_table_is_diagnosed(trained, capsys):
    options = ["--episodes", "2", "--horizon", "5", "--windows", "40"]
    assert cli.main(["diagnose", str(trained), *options]) == 0
    said = capsys.readouterr().out
    assert said.count("rank correlation with the return") == 4  # no likelihood
    page = (trained / "report" / "index.html").read_text()
    balanced(page)
    assert "The model, diagnosed" in page
    one = diagnosis.load(trained / "report")
    assert (one.horizon, len(one.points)) == (5, 2 * 2 * 4)
    for point in one.points:
        assert (np.diff(point.growth) >= -0.5).all()
        assert 0 <= point.mse <= 1  # the share of wrong cells


def test_one_checkpoint_says_that_a_correlation_needs_more(trained, capsys, tmp_path):
    options = ["--episodes", "2", "--since", "120", "--windows", "40"]
    options += ["--out", str(tmp_path / "page")]
    assert cli.main(["diagnose", str(trained), *options]) == 0
    assert "needs 4 checkpoints or more, got 2" in capsys.readouterr().out
    page = (tmp_path / "page" / "index.html").read_text()
    assert "needs at least 4 checkpoints; there are 2" in page
