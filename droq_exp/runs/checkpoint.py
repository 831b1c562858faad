"""What is kept of a run: weights for evaluation and playing, and all that it takes to go on exactly where it was."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from droq_exp.runs.checkpoint_files import REPLAY_FILE, STATE, WEIGHTS, WIDENED_FILE, state_steps
from droq_exp.runs.files import discard, write_atomically
from droq_exp.runs.replay_file import ReplayFile

PLAIN = (bool, int, float, str, bytes, type(None), Tensor)  # of these and lists and mappings of them states are
NEEDED = {"step", "row_size", "journal", "agent", "member", "loop", "conditions"}  # of a state
KEPT = 2  # a damaged checkpoint leaves the one before


class CheckpointError(Exception):
    """A checkpoint's content is not what was written."""


def check_weights(content: bytes) -> None:
    """Compare ``content``, of a ``weights.pt``, with the checksums in it, which ``torch.load`` does not look at.

    Raises:
        CheckpointError: it is cut short or changed.

    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
            # What is marked as a directory torch does not read, and gives tensors of whatever the memory held.
            damaged = damaged or next((each.filename for each in archive.infolist() if each.external_attr), None)
    except Exception as error:  # where the archive's own tables are damaged it stumbles in many ways
        raise CheckpointError("it is no whole archive") from error
    if damaged is not None:
        raise CheckpointError(f"a checksum differs, of {damaged}")


class Checkpoints:
    """The full states of one run, by environment step; they share one replay file.

    A state is a dictionary of tensors, numbers, texts, lists and dictionaries (what ``torch.load`` with
    ``weights_only`` reads back), its SHA-256 in front. It names its replay file, the size of the rows there and their
    blocks; those of before ``WIDENED_FILE`` name none and mean ``REPLAY_FILE``. So a file that is rewritten with other
    rows gets another name: until a state refers to it, it does not count, and the old states keep theirs.
    """

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, which need not exist."""
        self._directory = directory

    def steps(self) -> list[int]:
        """Steps that there is a state of, the newest first; whether it is whole shows when it is loaded."""
        return state_steps(self._directory)

    def whole(self) -> Iterator[int]:
        """Those of ``steps`` whose state can be loaded, each of which is loaded for it."""
        for step in self.steps():
            with suppress(CheckpointError):
                self.load(step)
                yield step

    def replay_file(self, row_size: int, name: str = REPLAY_FILE) -> ReplayFile:
        """Return the replay file ``name`` of rows of ``row_size`` numbers, taken as empty."""
        return ReplayFile(self._directory / name, row_size)

    def replay_file_of(self, state: dict[str, Any]) -> ReplayFile:
        """Return the replay file that ``state`` refers to, taken as empty: ``verify`` and ``restore`` come next."""
        return self.replay_file(state["row_size"], state.get("replay_file", REPLAY_FILE))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state of ``step``; drop all but the newest two, and the replay file that none refers to now.

        Raises:
            TypeError: something in it is none of what ``load`` takes back, a logger's state say.

        """
        for place, value in _not_plain("", state):
            raise TypeError(
                f"{place} is a {type(value).__name__}, which no checkpoint can hold; plain values can be held"
            )
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        self._directory.mkdir(exist_ok=True)
        if self._path(step).is_dir():
            discard(self._path(step))  # none of ours
        write_atomically(self._path(step), hashlib.sha256(content).digest() + content)
        for old in self.steps()[KEPT:]:
            discard(self._path(old))
        self._drop_unused_replay_file()

    def save_weights(self, tensors: dict[str, Tensor], step: int) -> None:
        """Write ``weights.pt``: one seed's tensors and the environment step, loadable with ``weights_only``."""
        buffer = io.BytesIO()
        torch.save({"step": step, **tensors}, buffer)
        self._directory.mkdir(exist_ok=True)
        write_atomically(self._directory / WEIGHTS, buffer.getvalue())

    def load(self, step: int, seed: int | None = None) -> dict[str, Any]:
        """Read the state of ``step``; with ``seed``, it must be that seed's.

        Raises:
            CheckpointError: it is missing, cut short or changed, another's, or nothing that this version reads.

        """
        path = self._path(step)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} is missing") from error
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
        digest, content = data[:32], data[32:]
        if hashlib.sha256(content).digest() != digest:
            raise CheckpointError(f"{path} is damaged")
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # the reader stumbles in many ways over what is none of ours
            raise CheckpointError(f"{path} holds no state that this version can load") from error
        if not isinstance(state, dict) or not state.keys() >= NEEDED or state["step"] != step:
            raise CheckpointError(f"{path} does not hold the state of step {step}")
        if seed is not None and state.get("seed", seed) != seed:  # those of before it was kept say nothing
            raise CheckpointError(f"{path} is of seed {state['seed']}, not of {seed}")
        return state

    def keep_only(self, step: int) -> None:
        """Drop the states of later steps, from which a run does not go on."""
        for later in self.steps():
            if later > step:
                discard(self._path(later))

    def drop(self) -> None:
        """Drop the states and the replay file; the weights stay."""
        for step in self.steps():
            discard(self._path(step))
        for name in (REPLAY_FILE, WIDENED_FILE):
            discard(self._directory / name)

    def _drop_unused_replay_file(self) -> None:
        """Of two replay files drop the one that no state refers to; where that cannot be told, keep both."""
        files = {name for name in (REPLAY_FILE, WIDENED_FILE) if (self._directory / name).exists()}
        if len(files) < 2:
            return
        try:
            used = {self.load(step).get("replay_file", REPLAY_FILE) for step in self.steps()}
        except CheckpointError:
            return
        for name in files - used:
            discard(self._directory / name)

    def _path(self, step: int) -> Path:
        return self._directory / STATE.format(step=step)


def _not_plain(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What within ``value`` a reader that executes nothing does not take, and where it is."""
    if type(value) is dict:
        for name, inner in value.items():
            yield from _not_plain(f"{place}.{name}" if place else str(name), inner)
            if type(name) not in PLAIN:
                yield f"a name in {place}", name
    elif type(value) in (list, tuple):
        for number, inner in enumerate(value):
            yield from _not_plain(f"{place}[{number}]", inner)
    elif type(value) not in PLAIN:
        yield place, value
