"""``droq-exp build``: compile the C++ for this CPU beforehand, for runs on machines without a compiler."""

from __future__ import annotations

from itertools import product

from droq_exp.cli.errors import RefusedError
from droq_exp.learner.native.build import BuildError, Variant, shared_object, start


def build() -> None:
    """Compile what is missing for every kind of critic, all at once, and print where each library is.

    Raises:
        RefusedError: it cannot be compiled here.
    """
    variants = [Variant(dropout, layer_norm) for dropout, layer_norm in product((False, True), repeat=2)]
    for variant in variants:
        start(variant)
    for variant in variants:
        try:
            print(shared_object(variant))
        except BuildError as error:
            raise RefusedError(f"the C++ cannot be built here: {error}") from error
