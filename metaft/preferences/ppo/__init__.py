"""Proximal policy optimisation of language models (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022).

One idea a file, all of them pure functions; `metaft.preferences.ppo.ppo` is the algorithm on one screen.
"""

from metaft.preferences.ppo.kl_control import AdaptiveKL, FixedKL
from metaft.preferences.ppo.minibatches import MinibatchOrder
from metaft.preferences.ppo.ppo import PPO, ActorCritic, Reference, experience, update
from metaft.preferences.ppo.rollout import Rollout

__all__ = [
    "PPO",
    "ActorCritic",
    "AdaptiveKL",
    "FixedKL",
    "MinibatchOrder",
    "Reference",
    "Rollout",
    "experience",
    "update",
]
