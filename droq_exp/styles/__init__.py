"""The two published code styles, side by side: the order of updates, the policy objective, what is measured."""

from droq_exp.styles.ku import KuStyle
from droq_exp.styles.redq import RedqStyle

Style = RedqStyle | KuStyle
