"""What an idle cluster costs: ``python bench/idle.py [seconds]``.

Starts the default cluster (all controllers, scheduler, kubelet, SQLite, HTTPS) in a new data directory, lets
it settle, and then looks at what the process has resident and how long it computes while nobody asks it
anything. The wake-ups are its context switches: what keeps a laptop's processor from sleeping.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AIM_MB, AIM_SHARE = 90.0, 0.005
SETTLE = 5.0


def status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise SystemExit(f"/proc/{pid}/status has no {name}")


def threads(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]


def busy(pid: int) -> float:
    """CPU seconds of all threads, to the nanosecond."""
    return (
        sum(int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0]) for tid in threads(pid))
        / 1e9
    )


def switches(pid: int) -> int:
    return sum(status(tid, "voluntary_ctxt_switches") for tid in threads(pid))


def main(seconds: float = 10.0) -> None:
    program = Path(sys.executable).with_name("kubernel")
    command = str(program) if program.exists() else shutil.which("kubernel") or "kubernel"
    with tempfile.TemporaryDirectory(prefix="kubernel-bench-") as directory:
        server = subprocess.Popen(
            [command, "up", "--data-dir", directory, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        )
        assert server.stdout is not None
        try:
            if b" runs at " not in server.stdout.readline():
                raise SystemExit("the cluster did not start")
            time.sleep(SETTLE)
            cpu, woken = busy(server.pid), switches(server.pid)
            time.sleep(seconds)
            cpu, woken = busy(server.pid) - cpu, switches(server.pid) - woken
            resident = status(server.pid, "VmRSS") / 1024
            private = status(server.pid, "RssAnon") / 1024
            count = len(threads(server.pid))
        finally:
            server.terminate()
            server.wait(30)
    share = cpu / seconds
    print(f"resident            {resident:8.1f} MB   {resident / AIM_MB:.2f} of the aim of {AIM_MB:.0f} MB")
    print(f"  not from files    {private:8.1f} MB   {count} threads")
    print(
        f"computing           {share:8.2%}      {share / AIM_SHARE:.2f} of the aim of {AIM_SHARE:.1%} of a core"
    )
    print(f"  woken             {woken / seconds:8.1f} times a second")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
