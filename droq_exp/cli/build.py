"""``droq-exp build``: compile the C++ for this CPU beforehand, for runs on machines without a compiler."""

from __future__ import annotations

from droq_exp.cli.errors import RefusedError
from droq_exp.learner.native.build import BuildError, shared_object, start, variants


def build() -> None:
    """Compile what is missing for every kind of critic, all at once, and print where each library is.

    Raises:
        RefusedError: it cannot be compiled here.
    """
    for variant in variants():
        start(variant)
    for variant in variants():
        try:
            print(shared_object(variant))
        except BuildError as error:
            raise RefusedError(f"the C++ cannot be built here: {error}") from error
