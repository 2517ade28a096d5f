"""Names of large families, as the reference tables spell them. Strings only."""

from __future__ import annotations

GYMNAX = (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Asterix-MinAtar",
    "Breakout-MinAtar",
    "Freeway-MinAtar",
    "Seaquest-MinAtar",
    "SpaceInvaders-MinAtar",
    "Catch-bsuite",
    "DeepSea-bsuite",
    "MemoryChain-bsuite",
    "UmbrellaChain-bsuite",
    "DiscountingChain-bsuite",
    "MNISTBandit-bsuite",
    "SimpleBandit-bsuite",
    "FourRooms-misc",
    "MetaMaze-misc",
    "PointRobot-misc",
    "BernoulliBandit-misc",
    "GaussianBandit-misc",
    "Reacher-misc",
    "Swimmer-misc",
    "Pong-misc",
    "FrozenLake-misc",
)

BRAX = (
    "ant",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_pendulum",
    "inverted_double_pendulum",
    "pusher",
    "reacher",
    "walker2d",
)
"""brax 0.14's swimmer is left out: it calls `jnp.clip` by an argument that jax 0.10 no
longer has."""

MUJOCO = {
    "Ant": "ant",
    "HalfCheetah": "halfcheetah",
    "Hopper": "hopper",
    "Humanoid": "humanoid",
    "InvertedDoublePendulum": "inverted_double_pendulum",
    "InvertedPendulum": "inverted_pendulum",
    "Pusher": "pusher",
    "Reacher": "reacher",
    "Swimmer": "swimmer",
    "Walker2d": "walker2d",
}
"""gym's tasks, without the version, and brax's names for the same bodies."""

ATARI_100K = (
    "Alien",
    "Amidar",
    "Assault",
    "Asterix",
    "BankHeist",
    "BattleZone",
    "Boxing",
    "Breakout",
    "ChopperCommand",
    "CrazyClimber",
    "DemonAttack",
    "Freeway",
    "Frostbite",
    "Gopher",
    "Hero",
    "Jamesbond",
    "Kangaroo",
    "Krull",
    "KungFuMaster",
    "MsPacman",
    "Pong",
    "PrivateEye",
    "Qbert",
    "RoadRunner",
    "Seaquest",
    "UpNDown",
)
"""The 26 games of the Atari 100k benchmark."""

ATARI_GAMES = tuple(
    sorted(
        (
            *ATARI_100K,
            *[
                "Asteroids",
                "Atlantis",
                "BeamRider",
                "Berzerk",
                "Bowling",
                "Centipede",
                "Defender",
                "DoubleDunk",
                "Enduro",
                "FishingDerby",
                "Gravitar",
                "IceHockey",
                "MontezumaRevenge",
                "NameThisGame",
                "Phoenix",
                "Pitfall",
                "Riverraid",
                "Robotank",
                "Skiing",
                "Solaris",
                "SpaceInvaders",
                "StarGunner",
                "Surround",
                "Tennis",
                "TimePilot",
                "Tutankham",
                "Venture",
                "VideoPinball",
                "WizardOfWor",
                "YarsRevenge",
                "Zaxxon",
            ],
        )
    )
)
"""The 57 games of the Arcade Learning Environment's usual set."""

DMC_PROPRIO = (
    "acrobot_swingup",
    "ball_in_cup_catch",
    "cartpole_balance",
    "cartpole_balance_sparse",
    "cartpole_swingup",
    "cartpole_swingup_sparse",
    "cheetah_run",
    "finger_spin",
    "finger_turn_easy",
    "finger_turn_hard",
    "hopper_hop",
    "hopper_stand",
    "pendulum_swingup",
    "reacher_easy",
    "reacher_hard",
    "walker_run",
    "walker_stand",
    "walker_walk",
)
"""The 18 tasks of DreamerV3's proprioceptive control benchmark."""

DMC_VISION = tuple(sorted((*DMC_PROPRIO, "quadruped_run", "quadruped_walk")))
"""The 20 tasks of DreamerV3's visual control benchmark."""

DMC_TASKS = tuple(
    sorted(
        (
            *DMC_VISION,
            *[
                "fish_swim",
                "fish_upright",
                "humanoid_run",
                "humanoid_stand",
                "humanoid_walk",
                "point_mass_easy",
                "swimmer_swimmer6",
                "swimmer_swimmer15",
            ],
        )
    )
)
"""The 28 tasks of the DeepMind control suite's benchmarking set."""

PLAYGROUND = (
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "BallInCup",
    "CartpoleBalance",
    "CartpoleBalanceSparse",
    "CartpoleSwingup",
    "CartpoleSwingupSparse",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "FishSwim",
    "HopperHop",
    "HopperStand",
    "HumanoidRun",
    "HumanoidStand",
    "HumanoidWalk",
    "PendulumSwingup",
    "PointMass",
    "ReacherEasy",
    "ReacherHard",
    "SwimmerSwimmer6",
    "WalkerRun",
    "WalkerStand",
    "WalkerWalk",
)
