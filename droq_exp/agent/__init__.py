"""The agent acts and learns: it knows no logger, disk or environment."""

from droq_exp.agent.agent import Agent

__all__ = ["Agent"]
