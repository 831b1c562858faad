"""Start on a run's C++ before torch is loaded, which takes a second in which compilers can work."""

from __future__ import annotations

from droq_exp.config.schema import Config
from droq_exp.learner.native.build import Variant, start


def begin(config: Config) -> None:
    """Have what is missing compiled in the background, if a run of ``config`` trains here and may use it."""
    asked = config.hardware
    here = asked.launcher == "here" and asked.device in ("auto", "cpu")
    if here and asked.native and asked.compile is not False:
        start(Variant.of(config.algo))
