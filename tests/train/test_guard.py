"""Updates that are not finite: dropped, shown, never the end of what was learned."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.test_loop import SCHEDULE, runner_of
from tests.train.test_run import rows
from tests.train.toy import FitOnly, Toy
from wm import envs
from wm.errors import RunError, UserError
from wm.train import guard, mishap
from wm.train.device import train_device
from wm.train.loop import batched, loop_of
from wm.train.run import train

ENV = envs.make("probe/step_counter")
FIVE = jnp.full(3, 5.0)


class Fails(Toy):
    """A toy whose update after `at` good ones is not finite, with that probability.

    It is drawn from the key, so another course may get past it.
    """

    def __init__(self, spec, at=5, share=1.0):
        super().__init__(spec)
        self.at, self.share = at, share

    def update(self, state, key, batches):
        new, feedback, metrics = super().update(state, key, batches)
        chance = jax.random.uniform(jax.random.fold_in(key, 1)) < self.share
        bad = (state.updates == self.at) & chance
        spoil = lambda x: jnp.where(bad, jnp.nan, x)
        params = {**new.params, "model": spoil(new.params["model"])}
        fields = {name: spoil(x) for name, x in feedback["replay"].fields.items()}
        feedback = {"replay": feedback["replay"]._replace(fields=fields)}
        return new.replace(params=params), feedback, metrics


class FailsToFit(FitOnly):
    """Its second fit is not finite."""

    def fit(self, state, key, dataset):
        new, metrics = super().fit(state, key, dataset)
        return new.replace(noise=jnp.where(new.updates == 2, jnp.inf, 0.0)), metrics


def finite(tree):
    return all(
        np.isfinite(np.asarray(x, np.float64)).all() for x in jax.tree.leaves(tree)
    )


def test_what_begins_infinite_may_stay_so():
    best = jnp.float32(jnp.inf)
    same = {"w": FIVE, "best": best}
    assert guard.finite(same, same, {})
    assert not guard.finite(same, {"w": FIVE.at[1].set(jnp.nan), "best": best}, {})
    assert not guard.finite(same, same, {"loss/total": best})
    assert guard.finite(same, same, {"model/share": best})


@pytest.mark.parametrize("size", [7, guard.SMALL + 1])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_element_that_is_not_finite_is_noticed_wherever_it_is(size, dtype):
    largest = jnp.full(size, jnp.finfo(dtype).max, dtype)
    tree = {"w": largest, "v": FIVE}
    look = jax.jit(lambda old, new: guard.finite(old, new, {}))
    # Their sum is infinite, they are not.
    assert not guard.surely_finite([largest])
    assert look(tree, tree)
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        spoiled = largest.at[size // 2].set(bad)
        assert not look(tree, {**tree, "w": spoiled})
        assert not guard.surely_finite([FIVE, spoiled, -spoiled])
    fine = jnp.ones(size, dtype)
    rows = jnp.stack([fine, fine.at[-1].set(jnp.nan)])
    each = jax.vmap(lambda x: guard.surely_finite([x, FIVE]))(rows)
    assert each.tolist() == [True, False]


def test_only_the_first_and_too_many_in_a_row_need_the_host():
    state = guard.empty(jax.random.key(0), {"x": FIVE})
    rings = []
    for bad in [0, 1, 0, 1] + [1] * guard.IN_A_ROW:
        batch = {"x": FIVE * len(rings)}
        key = jax.random.key(len(rings))
        state = guard.after(state, "skip", jnp.bool_(bad), key, batch)
        rings.append(bool(state.alarm))
        if state.alarm:
            assert state.batch["x"][0] == 5 * (len(rings) - 1)
            state = guard.calm(state)
    assert [i for i, x in enumerate(rings) if x][:2] == [1, 3 + guard.IN_A_ROW - 1]
    assert int(state.skipped) == 2 + guard.IN_A_ROW


@pytest.mark.parametrize("mode", ["loop", "vmap"])
def test_a_bad_update_is_dropped_and_ends_the_call(mode):
    runner = runner_of(mode, agent=Fails(ENV.spec, share=0.5))
    states = runner.prefill(runner.init(), [runner.loop.prefill_chunks] * 2)
    states, report = runner.interval(states, [20, 20], [0, 0])
    assert report["alarm"].any()
    seed = int(np.flatnonzero(report["alarm"])[0])
    assert report["chunks"][seed] < 20
    learner = runner.learner(states, seed)
    assert int(learner.agent.updates) == 5
    assert int(learner.updates) == 6
    assert int(learner.since_updates) == 5
    assert finite((learner.agent, learner.sums))
    held, batch = learner.guard, learner.guard.batch
    again, _, _ = runner.loop.agent.update(learner.agent, held.key, batch)
    assert not finite(again.params)
    states, after = runner.interval(states, [20, 20], [0, 0])
    assert after["chunks"][seed] == report["chunks"][seed]
    states, after = runner.interval(runner.calm(states), [2, 2], [0, 0])
    assert after["chunks"][seed] > report["chunks"][seed]
    replay = runner.loop.buffer.dataset(runner.seeds.pick(states, seed).buffer)
    assert finite(replay.steps.extras)


def test_without_a_directory_bad_updates_are_skipped():
    found = []
    agent, key = Fails(ENV.spec, share=0.5), jax.random.key(0)
    _, states = train_device(agent, ENV, None, SCHEDULE, key, found.extend)
    assert int(states[0].step) >= SCHEDULE.total
    assert found[-1]["skipped"] >= 1
    assert finite(states[0].agent)
    halt = dataclasses.replace(SCHEDULE, nonfinite="halt")
    with pytest.raises(RunError, match="an update at step"):
        train_device(agent, ENV, None, halt, key, found.extend)


def test_a_fit_that_is_not_finite_is_dropped_and_ends_the_call():
    found, key = [], jax.random.key(0)
    plan = dataclasses.replace(SCHEDULE, fit_steps=40)
    agent = FailsToFit(ENV.spec)
    _, states = train_device(agent, ENV, None, plan, key, found.extend)
    last = states[0]
    assert int(last.agent.updates) == 1  # each later one is a second one again
    assert int(last.guard.skipped) == int(last.fits) - 1 > 1
    assert finite(last.agent)
    assert bool(last.guard.seen)
    halt = dataclasses.replace(plan, nonfinite="halt")
    with pytest.raises(RunError, match="an update at step"):
        train_device(agent, ENV, None, halt, key, found.extend)


def go(out, agent, policy, tier="device", save_steps=20):
    schedule = dataclasses.replace(
        SCHEDULE, nonfinite=policy, save_steps=save_steps, replay_tier=tier
    )
    return train(agent, ENV, schedule, out=out, quiet=True)


def test_skip_keeps_the_evidence_and_goes_on(tmp_path):
    run = go(tmp_path, Fails(ENV.spec, share=0.5), "skip", "host")
    assert rows(run)[-1]["skipped"] >= 1
    assert finite(run.state())
    (folder,) = (tmp_path / mishap.FOLDER).iterdir()
    found = run.evidence(folder)
    assert found.state.updates == 5
    again, _, _ = run.agent.update(found.state, found.key, found.batch)
    assert not finite(again.params)


def test_halt_is_one_line_and_may_go_on_with_another_policy(tmp_path):
    with pytest.raises(RunError, match=r"not finite; batch .*--train\.nonfinite skip"):
        go(tmp_path, Fails(ENV.spec, share=0.5), "halt")
    assert len(list((tmp_path / mishap.FOLDER).iterdir())) == 1
    run = go(tmp_path, Fails(ENV.spec, share=0.5), "skip")
    assert rows(run)[-1]["skipped"] >= 1


def test_rollback_takes_another_course_from_the_last_checkpoint(tmp_path):
    run = go(tmp_path, Fails(ENV.spec, share=0.5), "rollback")
    assert int(run.learner().agent.updates) > 5
    assert list((tmp_path / mishap.FOLDER).iterdir())
    assert finite(run.state())
    steps = [row["step"] for row in rows(run)]
    assert steps == sorted(set(steps))
    assert rows(run)[-1]["skipped"] == 0


@pytest.mark.slow
def test_many_in_a_row_roll_back_and_at_last_give_up(tmp_path):
    with pytest.raises(
        RunError, match="nor were the 9 before it, as in 3 other courses"
    ):
        go(tmp_path, Fails(ENV.spec), "skip")


def test_nothing_to_go_back_to_is_one_line(tmp_path):
    loop = loop_of(Toy(ENV.spec), SCHEDULE)
    state = jax.eval_shape(loop.init, batched(ENV), jax.random.key(0)).learner()
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state.replace(key=()))
    state = state.replace(guard=guard.empty(jax.random.key(0), {}))
    runner = types.SimpleNamespace(learner=lambda states, seed: state)
    report = {"alarm": np.array([True]), "step": np.array([7])}
    handle = mishap.Mishaps(tmp_path, "rollback", [0], print, lambda *_: None).handle
    with pytest.raises(RunError, match=r"at step 7 is .* no checkpoint to go back to"):
        handle(runner, None, report, None)


def test_policies_are_checked():
    with pytest.raises(UserError, match="must be skip, rollback or halt, got ig"):
        dataclasses.replace(SCHEDULE, nonfinite="ignore")
