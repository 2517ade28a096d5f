"""Where reaching a goal is all that earns, the page shows how long it took."""

import wm
from wm.report import write
from wm.report.record import read
from wm.report.summary import lengths, summarize


def test_a_maze_shows_steps_per_episode_and_no_dream_of_indices(tmp_path):
    env = wm.env("grid/dyna_maze")
    agent = wm.agent("dyna_q", env.spec, planning_steps=5)
    wm.train(agent, env, steps=4_000, out=tmp_path / "run", quiet=True)
    found = lengths(summarize(read(tmp_path / "run")))
    assert found[0].values[-1] < found[0].values[0]
    page = write([tmp_path / "run"]).read_text()
    assert "steps per episode" in page
    assert "Steps per episode" in page
    assert "numbers of states, which show nothing" in page


def test_episodes_of_one_length_need_no_picture(tmp_path):
    env = wm.env("probe/matched")
    agent = wm.agent("ppo", env.spec, layers=(4,))
    wm.train(agent, env, steps=1_500, out=tmp_path / "run", quiet=True)
    assert lengths(summarize(read(tmp_path / "run"))) == {}
    assert "steps per episode" not in write([tmp_path / "run"]).read_text()
