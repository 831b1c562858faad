#!/usr/bin/env python
"""Compare the C++ and the NumPy policy with PyTorch, and bind them to the definitions they were compared with.

Run it after an edit of a definition that the C++ has followed (or that it does not need to follow): it runs the tests
that compare the two and, where all pass, writes the digests to ``droq_exp/learner/native/digests.json``. Until then the
edited definitions run in PyTorch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "tests/learner/test_native.py",
    "tests/learner/test_learner_reference.py",
    "tests/learner/test_dropout.py",
    "tests/agent/test_policy.py",
)
# These start a run that should take the C++, which waits for the very digests to be written; they compare nothing.
NEED_DIGESTS = (
    "tests/learner/test_native.py::test_a_machine_where_it_cannot_be_built_says_so_and_trains",
    "tests/learner/test_native.py::test_compilers_start_before_torch_is_loaded_and_inductor_never_is",
)


def main() -> int:
    """Exit with pytest's code where a comparison fails; the digests stay as they are then."""
    left_out = [f"--deselect={test}" for test in NEED_DIGESTS]
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS, *left_out], cwd=ROOT, check=False).returncode
    if code:
        print("the digests were not written: mend what differs first", file=sys.stderr)
        return code
    sys.path.insert(0, str(ROOT))
    from droq_exp.learner import definitions  # after the tests: it imports torch

    definitions.FILE.write_text(json.dumps(definitions.current(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {definitions.FILE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
