"""TensorBoard's event files, read by TensorBoard."""

from __future__ import annotations

from pathlib import Path

from logged import GROUP, make_info

from droq_exp.loggers.tensorboard import TensorBoardLogger


def test_tensorboard_has_the_same_names_and_texts(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(info := make_info(tmp_path))
    logger.log(1000, {"eval/return_mean": 1.5, "train/critic_loss": 0.25})
    logger.log(2000, {"eval/return_mean": 2.5})
    logger.close("finished")
    events = EventAccumulator(str(info.directory / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"eval/return_mean", "train/critic_loss"}
    assert [(event.step, event.value) for event in events.Scalars("eval/return_mean")] == [(1000, 1.5), (2000, 2.5)]

    def text(name: str) -> str:
        (event,) = events.Tensors(f"{name}/text_summary")
        return event.tensor_proto.string_val[0].decode()

    assert text("group") == GROUP
    assert text("name") == info.name
    assert text("tags").split() == ["-", "runs", "-", "redq", "-", "droq", "-", "hopper"]
    assert "    algo:\n      name: droq\n" in text("config")
    assert text("state") == "finished"
