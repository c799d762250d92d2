"""``python -m tests.fuzz``: every target in turn, until the time is up. Ends with 1 if anything failed."""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, seed, settings

from tests.fuzz.targets import TARGETS

_EXAMPLES = 250
_LINE_SECONDS = 15.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long")
    parser.add_argument("--seed", type=int, default=None, help="repeats an earlier run; at random unless given")
    parser.add_argument("targets", nargs="*", help="all, unless named")
    options = parser.parse_args(argv)
    first = random.randrange(10**9) if options.seed is None else options.seed
    wanted = options.targets or list(TARGETS)
    failed: dict[str, int] = {}
    print(f"seed {first} (make fuzz SEED={first} repeats this)", flush=True)
    began = said = time.monotonic()
    rounds = 0
    while not rounds or (time.monotonic() - began < options.seconds and len(failed) < len(wanted)):
        for name in wanted:
            if rounds and time.monotonic() - began >= options.seconds:
                break
            if name not in failed and not _round(name, first + rounds):
                failed[name] = first + rounds
            if time.monotonic() - said >= _LINE_SECONDS:
                said = time.monotonic()
                total = sum(TARGETS[each].calls for each in wanted)
                print(f"{said - began:5.0f} s  round {rounds + 1}, {total:,} inputs, {len(failed)} failed", flush=True)
        rounds += 1
    for name in wanted:
        fault = f"  FAILED (--seed={failed[name]})" if name in failed else ""
        print(f"{name:32} {TARGETS[name].calls:>12,}{fault}")
    total = sum(TARGETS[each].calls for each in wanted)
    print(f"{len(wanted)} targets, {total:,} inputs in {time.monotonic() - began:.0f} s, {len(failed)} failed.")
    return 1 if failed else 0


def _round(name: str, number: int) -> bool:
    configured = settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    try:
        configured(seed(number)(TARGETS[name].test()))()
    except (Exception, SystemExit):
        print(f"{name} FAILED with seed {number}:")
        traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
