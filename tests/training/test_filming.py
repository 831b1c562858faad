"""``eval.video_every``: videos of evaluation episodes, beside which a run is what it is without them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from real_runs import assert_same, log_text, only_run, runs, status, steps, train, train_in
from video_files import read

from droq_exp.config import ConfigError
from droq_exp.evaluation import rendering
from droq_exp.evaluation.rendering import RenderingError

WITHOUT = ("env=gym", "env.id=Drawn-v0", "bias.enabled=false", "eval.interval=20", "checkpoint.interval=30")
COMMAND = (*WITHOUT, "eval.video_every=2")


class Drawn(gymnasium.Env):
    """A task whose picture is as bright as its episode is old; ``drawing`` may do anything else at each picture."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 100}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    drawing: Callable[[Drawn], None] = staticmethod(lambda env: None)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time, self.place = 0, self.np_random.uniform(-1, 1)
        return self._observation(), {}

    def step(self, action: np.ndarray) -> Any:
        self.time, self.place = self.time + 1, 0.9 * self.place + float(action[0])
        return self._observation(), -abs(self.place), self.time == 9, False, {}

    def render(self) -> np.ndarray:
        Drawn.drawing(self)
        return np.full((16, 32, 3), 20 * self.time, dtype=np.uint8)

    def _observation(self) -> np.ndarray:
        return np.array([self.time, self.place], dtype=np.float32)


gymnasium.register("Drawn-v0", entry_point=Drawn, max_episode_steps=1000)


@pytest.fixture(autouse=True)
def here(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drawn, "drawing", Drawn.drawing)  # is put back


def videos(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "videos").iterdir()) if (run / "videos").exists() else []


@pytest.mark.program
def test_each_nth_evaluation_is_filmed_and_no_number_changes(tmp_path: Path) -> None:
    plain = train_in(tmp_path / "plain", *WITHOUT, "seed=[0,1]")
    assert train(*COMMAND, "seed=[0,1]", "logger=tensorboard") == 0
    for run, same in zip(runs(), plain, strict=True):
        assert run.parts[-5:] == same.parts[-5:]  # it is the same run
        assert_same(run, same)
        assert steps(run) == [20, 40, 60, 80, 100]
        assert videos(run) == ["step_40.mp4", "step_80.mp4"]
        assert videos(same) == []
        frames = read(run / "videos" / "step_80.mp4").mean((1, 2, 3))
        np.testing.assert_allclose(frames, [20 * time for time in range(0, 10, 2)], atol=4)  # 50 a second
        assert "no video" not in log_text(run)
        assert _shown(run) == [40, 80]


def _shown(run: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return [event.step for event in events.Images("eval/video")]


def test_a_signal_while_it_is_filmed(tmp_path: Path) -> None:
    """The evaluation is made again, and so is the video: each is there once, and nothing else is."""
    plain = train_in(tmp_path / "plain", *WITHOUT)
    seen = []

    def drawing(env: Drawn) -> None:
        seen.append(env.time)
        if len(seen) == 9:  # one picture at the start, five of the first video
            os.kill(os.getpid(), signal.SIGTERM)

    Drawn.drawing = staticmethod(drawing)
    assert train(*COMMAND, "logger=tensorboard") == 143
    run = only_run()
    assert (videos(run), steps(run)) == (["step_40.mp4"], [20, 40, 60])
    (run / "videos" / ".step_80.0123.tmp.mp4").write_text("of a process that was killed")
    (run / "videos" / "step_90.mp4").write_text("of a later step, which is made again")
    (run / "videos" / "mine.mp4").write_text("somebody else's")
    assert train(*COMMAND, "logger=tensorboard") == 0
    assert_same(run, plain[0])
    assert videos(run) == ["mine.mp4", "step_40.mp4", "step_80.mp4"]
    assert _shown(run) == [40, 80]


def test_a_renderer_that_breaks_ends_nothing() -> None:
    def drawing(env: Drawn) -> None:
        if env.time == 4:
            raise RuntimeError("the lights\nwent out")

    Drawn.drawing = staticmethod(drawing)
    assert train(*COMMAND) == 0
    run = only_run()
    assert (status(run)["state"], steps(run), videos(run)) == ("finished", [20, 40, 60, 80, 100], [])
    assert "no video of step 40: RuntimeError: the lights went out" in log_text(run)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (("env=gym", "env.id=Counting-v0"), "Counting-v0 cannot be drawn: its render modes are none"),
        (("env=inverted_pendulum",), "no OpenGL here"),
        (("env=gym", "env.id=Drawn-v0"), "Drawn-v0 cannot be drawn: it is dark"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_training(
    task: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_opengl() -> None:
        raise RenderingError("no OpenGL here")

    def dark(env: Drawn) -> None:
        raise OSError("it is\ndark")

    monkeypatch.setattr(rendering, "use_offscreen", no_opengl)
    Drawn.drawing = staticmethod(dark)
    with pytest.raises(ConfigError) as refusal:
        train(*task, "eval.video_every=1", "bias.enabled=false")
    told = str(refusal.value)
    assert told.startswith(f"eval.video_every: {words}; ")
    assert told.endswith("eval.video_every=0 trains without videos")
    assert "\n" not in told
    assert runs() == []
