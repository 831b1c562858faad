"""RoboPianist's suite: every song of it as a Gymnasium task, registered once it is asked for.

RoboPianist is Zakka et al. 2023, arXiv:2304.04150. docs/robopianist.md says how to install it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import gymnasium

from droq_exp.envs.importing import importing, nearest_task, register_once

if TYPE_CHECKING:
    from droq_exp.envs.pianist import Pianist

INSTALL = "pip install 'droq-exp[robopianist]' installs it, after the Debian packages in docs/robopianist.md"
PIG = "is of the PIG data set, whose licence keeps it out of RoboPianist; docs/robopianist.md says how to add it"
SETTINGS: dict[str, Any] = {  # those of the authors' training, robopianist-rl's run.sh
    "control_timestep": 0.05,  # s
    "n_steps_lookahead": 10,
    "trim_silence": True,
    "gravity_compensation": True,
    "reduced_action_space": True,
    "primitive_fingertip_collisions": True,
    "change_color_on_activation": True,  # shows in pictures which keys are down
}
CAMERA = "piano/back"  # that of the authors' videos


def robopianist_id(song: str) -> str:
    """Gymnasium's id of ``song``: "robopianist/NocturneRousseau-v0" of "NocturneRousseau"."""
    return f"robopianist/{song}-v0"


def register_robopianist(id: str) -> None:
    """Register what ``id`` names, where it is of the form that :func:`robopianist_id` gives; leave others alone.

    Raises:
        DependencyNotInstalled: RoboPianist is missing or cannot be imported, or the song's data set is missing.
        NameNotFound: the suite has no such song; the line names the nearest one.
    """
    register_once(id, robopianist_id, _name_in_suite, "droq_exp.envs.robopianist:make_robopianist", "song")


def make_robopianist(
    song: str,
    *,
    render_mode: str | None = None,
    width: int = 640,
    height: int = 480,
    camera_id: int | None = None,
    camera_name: str | None = None,
    stretch: float = 1.0,
    shift: int = 0,
    task_kwargs: Mapping[str, Any] | None = None,
) -> Pianist:
    """Make the task of playing a song.

    Args:
        song: such as "TwinkleTwinkleRousseau".
        render_mode: this, width, height, camera_id and camera_name are those of ``DmEnv``.
        width: in pixels.
        height: in pixels.
        camera_id: a number; neither it nor a name: ``CAMERA``.
        camera_name: or a name.
        stretch: how many times as long the song is to be.
        shift: by how many semitones it is to be higher.
        task_kwargs: of RoboPianist's ``PianoWithShadowHands``, in the place of ``SETTINGS`` or in addition to them.

    Raises:
        DependencyNotInstalled: RoboPianist is missing or cannot be imported, or the song's data set is missing.
        NameNotFound: the suite has no such song.
        TypeError: the task does not know an argument.
    """
    name = _name_in_suite(song)
    from droq_exp.envs.pianist import Pianist

    suite, _ = _packages()
    settings = {**SETTINGS, **(task_kwargs or {})}
    if camera_id is None and camera_name is None:
        camera_name = CAMERA
    return Pianist(
        suite.load(name, stretch=stretch, shift=shift, task_kwargs=settings),
        render_mode=render_mode,
        width=width,
        height=height,
        camera_id=camera_id,
        camera_name=camera_name,
    )


def _name_in_suite(song: str) -> str:
    """The suite's own name of ``song``: RoboPianist-<group>-<song>-v0; of any group, since they share songs."""
    suite, music = _packages()
    names = {name.removesuffix("-v0").rpartition("-")[2]: name for name in suite.ALL}
    if song not in names:
        near = nearest_task(song, names)
        raise gymnasium.error.NameNotFound(f"RoboPianist's suite has no song {song}; did you mean {near}?")
    if song not in music.ALL:
        raise gymnasium.error.DependencyNotInstalled(f"{song} {PIG}; songs here: {', '.join(music.ALL)}")
    return names[song]


@cache
def _packages() -> tuple[Any, Any]:
    """``robopianist.suite`` and ``robopianist.music``."""
    with importing("robopianist", INSTALL):
        from robopianist import music, suite
    return suite, music
