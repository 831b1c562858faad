"""A search whose trials are SLURM's jobs."""

from __future__ import annotations

import json

from sweep import Sweep
from trials import search_directory, trials


def test_a_head_that_is_killed_loses_and_repeats_no_trial(sweep: Sweep) -> None:
    command = ["algo.gamma=range(0.8,0.99)", "--trials", "3", "--parallel", "2"]
    for last in ("trial 0 begins", "trial 2 begins"):
        head = sweep.tune(*command)
        assert head.stdout is not None
        assert any(line.startswith(last) for line in head.stdout)
        head.kill()
        head.communicate()
    done = sweep.wait(sweep.tune(*command))
    assert done.code == 0, done.err
    assert "3 trials: 3 complete" in done.out
    assert len({row["runs"] for row in trials(sweep.directory)}) == 3
    runs = [*search_directory(sweep.directory).glob("redq/droq/*/seed_0")]
    ends = [json.loads((run / "status.json").read_text()) for run in runs]
    assert [(each["state"], each["attempts"]) for each in ends] == 3 * [("finished", 1)]
    assert all(json.loads((run / "job.json").read_text())["backend"] == "slurm" for run in runs)
