"""Start on a run's C++ before torch is loaded, which takes a second in which compilers can work."""

from __future__ import annotations

from droq_exp.config.schema import Config
from droq_exp.learner.native.build import Variant, start


def begin(config: Config) -> None:
    """Have what is missing compiled in the background, if a run of ``config`` trains here and may use it."""
    asked = config.hardware
    if asked.launcher == "here" and asked.device in ("auto", "cpu") and asked.updates in ("auto", "native"):
        for dropout in {rate > 0 for rate in config.algo.dropout_rates}:
            start(Variant(dropout, config.algo.layer_norm))
