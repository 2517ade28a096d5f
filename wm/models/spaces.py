"""Which spaces a model can be built for."""

from __future__ import annotations

from wm.envs.bodies import shown_by_velocity
from wm.errors import UserError
from wm.types import ArraySpec, EnvSpec


def vector_size(spec: EnvSpec, who: str, example: str) -> int:
    """Entries of an observation that is one vector, under continuous actions.

    Args:
      spec: of the environment.
      who: predicts it, for the message: "ensembles".
      example: environments that fit, for the message.

    Raises:
      UserError: not one vector of numbers, or actions that are no vector.
    """
    seen, action = spec.observation, spec.action
    vector = lambda array: len(array.shape) == 1 and not array.discrete
    if isinstance(seen, ArraySpec) and vector(seen) and vector(action):
        return seen.shape[0]
    raise UserError(
        f"{spec.name}: {who} predict one vector of numbers under continuous actions, "
        f"as in {example}"
    )


def require_reward(spec: EnvSpec) -> None:
    """Complain where nothing says how rewards follow from observations.

    Raises:
      UserError: naming what helps.
    """
    if spec.reward_fn is None:
        shown = shown_by_velocity(spec.name)
        velocity = "--env.velocity true, which shows it, or " if shown else ""
        raise UserError(
            f"{spec.name} does not say how rewards follow from observations: set "
            f"{velocity}--agent.model.learn_reward true"
        )
