"""The two published code styles, side by side: the order of updates, the policy objective, what is measured."""

from droq_exp.codebases.ku import KuStyle
from droq_exp.codebases.redq import RedqStyle

Style = RedqStyle | KuStyle
