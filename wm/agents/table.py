"""Names of systems; nothing here imports them."""

from __future__ import annotations

from wm.table import Entry

AGENTS: dict[str, Entry] = {
    "q_learning": Entry(
        target="wm.agents.q_learning:QLearning",
        description="values of state-action pairs, without a model (Watkins 1989)",
    ),
    "dyna_q": Entry(
        target="wm.agents.dyna_q:DynaQ",
        description="Q-learning from real and remembered steps; Dyna-Q+ (Sutton 1990)",
    ),
    "prioritized_sweeping": Entry(
        target="wm.agents.prioritized_sweeping:PrioritizedSweeping",
        description="backups of a tabular model in order of urgency "
        "(Peng & Williams 1993)",
    ),
    "dqn": Entry(
        target="wm.agents.dqn:DQN",
        description="values of actions from a net and replay; double, dueling, n-step "
        "(Mnih et al. 2015)",
    ),
    "reinforce": Entry(
        target="wm.agents.reinforce:Reinforce",
        description="policy gradient with Monte Carlo returns (Williams 1992)",
    ),
    "a2c": Entry(
        target="wm.agents.a2c:A2C",
        description="policy gradient with a critic, one step per rollout "
        "(Mnih et al. 2016)",
    ),
    "ppo": Entry(
        target="wm.agents.ppo:PPO",
        description="clipped policy gradient, several epochs per rollout "
        "(Schulman et al. 2017)",
    ),
    "sac": Entry(
        target="wm.agents.sac:SAC",
        description="continuous actions from replay with an entropy bonus "
        "(Haarnoja et al. 2018)",
    ),
    "mpc": Entry(
        target="wm.agents.mpc:MPC",
        description="planning on the true rules, nothing learned: CEM, iCEM, MPPI, "
        "random shooting, gradients",
    ),
    "mb_mf": Entry(
        target="wm.agents.mb_mf:MBMF",
        description="plans in one network, clones the planner, then learns without a "
        "model (Nagabandi et al. 2018)",
    ),
    "pets": Entry(
        target="wm.agents.pets:PETS",
        description="CEM in an ensemble of probabilistic networks (Chua et al. 2018)",
    ),
    "mbpo": Entry(
        target="wm.agents.mbpo:MBPO",
        description="SAC on short rollouts of an ensemble (Janner et al. 2019)",
    ),
    "mb_mpo": Entry(
        target="wm.agents.mb_mpo:MBMPO",
        description="a policy that one step adapts to each model of an ensemble "
        "(Clavera et al. 2018)",
    ),
    "grbal": Entry(
        target="wm.agents.grbal:GrBAL",
        description="random shooting in a network that adapts at every step "
        "(Nagabandi et al. 2019)",
    ),
    "pilco": Entry(
        target="wm.agents.pilco:PILCO",
        description="a policy by gradients through Gaussian processes under moment "
        "matching (Deisenroth & Rasmussen 2011)",
    ),
    "svg": Entry(
        target="wm.agents.svg:SVG",
        description="a policy by gradients along real trajectories, SVG(0), SVG(1), "
        "SVG(infinity) (Heess et al. 2015)",
    ),
    "alphago": Entry(
        target="wm.agents.alphago:AlphaGo",
        description="policies from a teacher and from self-play, a value, and a search "
        "with playouts (Silver et al. 2016)",
    ),
    "alphazero": Entry(
        target="wm.agents.alphazero:AlphaZero",
        description="self-play with tree search on the rules (Silver et al. 2018)",
    ),
    "muzero": Entry(
        target="wm.agents.muzero:MuZero",
        description="tree search in a learned model of rewards, values and policies; "
        "Gumbel, Reanalyse, Sampled, Stochastic (Schrittwieser et al. 2020)",
    ),
    "efficientzero": Entry(
        target="wm.agents.efficientzero:EfficientZero",
        description="MuZero for few data: consistent latents, value prefix, fresh "
        "targets; V2 by settings (Ye et al. 2021)",
    ),
    "dreamer_v3": Entry(
        target="wm.agents.dreamer_v3:DreamerV3",
        description="actor-critic in the imagination of a categorical RSSM "
        "(Hafner et al. 2025)",
    ),
}
"""System by name. Each class has its settings as `Config`."""
