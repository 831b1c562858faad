from droq_exp.api import Run as Run
from droq_exp.api import train as train
from droq_exp.config.errors import ConfigError as ConfigError
from droq_exp.evaluation.load import load as load
from droq_exp.runs.checkpoint import CheckpointError as CheckpointError
from droq_exp.runs.lock import HeldError as HeldError

__all__: list[str]
__version__: str
