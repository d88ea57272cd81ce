"""Fuzz for long: ``python -m tests.fuzz [INPUTS [TARGET ...]]``, by default 100,000 per target."""

import faulthandler
import signal
import sys
import time
import warnings
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.inputs import Target
from tests.fuzz.targets import TARGETS

ROUND = 5000  # a search starts afresh: hypothesis remembers what it has tried, in memory
HANG_SECONDS = 60


def fuzz(target: Target, inputs: int, first_seed: int = 0) -> Counter[str]:
    """Run at least ``inputs`` inputs; return how often which outcome was met."""
    outcomes: Counter[str] = Counter()

    def one(value: object) -> None:
        signal.alarm(HANG_SECONDS)
        outcomes[target.run(value)] += 1
        signal.alarm(0)

    while outcomes.total() < inputs:
        options = settings(
            max_examples=min(ROUND, inputs - outcomes.total()),
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        seed(first_seed + outcomes.total())(options(given(target.inputs)(one)))()
    return outcomes


def main(inputs: int = 100_000, *names: str) -> None:
    """Fuzz the named targets, or all."""
    warnings.simplefilter("ignore")  # the YAML parser's, of repeated anchors
    faulthandler.register(signal.SIGALRM, chain=True)  # says where it hangs, then ends
    for name in names or TARGETS:
        started = time.monotonic()
        outcomes = fuzz(TARGETS[name], inputs)
        counts = ", ".join(f"{count:,} {what}" for what, count in sorted(outcomes.items()))
        seconds = time.monotonic() - started
        print(f"{name}: {outcomes.total():,} inputs in {seconds:,.0f} s: {counts}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
