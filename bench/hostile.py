"""What others notice while a server is attacked: ``python bench/hostile.py [attack…]``.

The server runs in a process of its own (SQLite, all auth plugins, no nodes), the attackers and the user who has nothing
to do with them in this one. A hundred requests a second, a fifth of them writes: the 99th percentile, its ratio to the
quiet server's and to the limit of 100 ms, how much memory the attack took, and the longest step of the server's loop in
processor time, which is what others wait for where there are processors enough. One of two is the attackers': what they
take of it is in the other figures.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins" / "api" / "http"))

from attacks import ATTACKS, Latencies, attacked, others, server

LIMIT = 0.1
SECONDS = 5.0
SETTLED = 1.0


def told(name: str, found: Latencies, quiet: float, memory: int, step: float) -> str:
    p50, p99 = found.percentile(0.5), found.percentile(0.99)
    ratios = f"{p99 / quiet:9.1f} {p99 / LIMIT:9.2f}"
    return f"{name:26} {p50 * 1000:8.1f} {p99 * 1000:8.1f} {ratios} {memory / 2**20:+9.0f} {step * 1000:8.1f}"


def main(wanted: list[str]) -> None:
    with server(probed=True) as target:
        begun = time.time() + SETTLED
        quiet = asyncio.run(others(target, SECONDS))
        step = target.longest_step(begun)
    base = quiet.percentile(0.99)
    print(f"{'':26} {'p50 ms':>8} {'p99 ms':>8} {'x quiet':>9} {'x limit':>9} {'MiB':>9} {'step ms':>8}")
    print(told("quiet", quiet, base, 0, step), flush=True)
    for attack in ATTACKS:
        if wanted and attack.__name__ not in wanted:  # type: ignore[attr-defined]
            continue
        with server(probed=True) as target:
            time.sleep(SETTLED)
            seen = asyncio.run(attacked(target, attack, SECONDS))
            step = target.longest_step(seen.begun)
        name = attack.__name__.replace("_", " ")  # type: ignore[attr-defined]
        print(told(name, seen.others, base, seen.most - seen.before, step), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
