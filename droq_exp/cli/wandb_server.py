"""Whether wandb can be used online, asked before anything is started that would wait for it."""

from __future__ import annotations

import os
import urllib.error
import urllib.request

from droq_exp.cli.errors import RefusedError

ANSWER_SECONDS = 10.0


def check_server() -> None:
    """Refuse now what wandb would ask, or wait, for.

    Raises:
        RefusedError: nobody is logged in, or the server does not answer.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    session = wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise RefusedError("not logged in to wandb; see `wandb login`")
    url = session.settings.base_url
    try:
        urllib.request.urlopen(url, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # an answer, whatever it says
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise RefusedError(f"wandb's server {url} does not answer: {reason}; try again, nothing is lost") from error
