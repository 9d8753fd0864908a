"""jtask leaves Python's shared random generator alone."""

import random

from jtask.randomness import RANDOM
from jtask_retries.jitter import spread


def test_a_seeded_program_gets_its_own_sequence_whatever_jtask_draws() -> None:
    random.seed(7)
    before = random.getstate()
    spread(1.0, 0.5)
    RANDOM.uniform(0, 1)
    assert random.getstate() == before
