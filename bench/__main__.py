"""All benchmarks, one after the other: ``python -m bench [name…]``.

Each runs in a process of its own and prints its command before its figures. Nothing is asserted: what a
figure is worth depends on what else the machine does, which is why the ratios are there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NOT_ALONE = {"__init__", "__main__", "etcd_puts"}
"""``etcd_puts`` is a part of ``store``, which runs it where etcd is installed."""


def main(wanted: list[str]) -> int:
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_ALONE)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}",
        flush=True,
    )
    failed = []
    for name in wanted or names:
        print(f"\n$ python bench/{name}.py", flush=True)
        if subprocess.run([sys.executable, str(FOLDER / f"{name}.py")], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nnot finished: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
