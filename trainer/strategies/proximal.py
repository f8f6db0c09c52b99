"""FedProx (Li et al. 2020): averaging, with local training pulled back to where it began."""

from __future__ import annotations

from trainer.strategies.averaging import step
from trainer.strategies.strategy import Strategy

FEDPROX = Strategy(step, mu=lambda settings: settings["mu"] / 1e6)
