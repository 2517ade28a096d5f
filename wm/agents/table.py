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
        description="Q-learning from real and from remembered transitions; Dyna-Q+ "
        "(Sutton 1990)",
    ),
    "prioritized_sweeping": Entry(
        target="wm.agents.prioritized_sweeping:PrioritizedSweeping",
        description="backups of a tabular model in order of urgency "
        "(Peng & Williams 1993)",
    ),
    "mpc": Entry(
        target="wm.agents.mpc:MPC",
        description="planning on the true rules, nothing learned: CEM, iCEM, MPPI, "
        "random shooting, gradients",
    ),
    "dreamer_v3": Entry(
        target="wm.agents.dreamer_v3:DreamerV3",
        description="actor-critic in the imagination of a categorical RSSM "
        "(Hafner et al. 2025)",
    ),
}
"""System by name. Each class has its settings as `Config`."""
