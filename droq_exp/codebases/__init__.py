"""The two published code bases, side by side: the order of updates, the policy objective, what is measured."""

from droq_exp.codebases.ku import KuCodebase
from droq_exp.codebases.protocol import Codebase
from droq_exp.codebases.redq import RedqCodebase

__all__ = ["Codebase", "KuCodebase", "RedqCodebase"]
