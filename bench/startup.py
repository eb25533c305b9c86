"""From ``kubernel up`` to the first answer of kubectl: ``python bench/startup.py [rounds]``.

Each round starts the default cluster twice on a port of its own: in a new data directory, then again in the
same one. It is measured from the start of the process to the end of the first ``kubectl get nodes`` that
shows the node Ready. kubectl is started anew until it does; how long it takes by itself is told apart, as is
how long this interpreter takes to import the libraries of the API server, since what a busy machine slows
down is the ratio's both sides.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AIM = 0.6
LIBRARIES = "import aiohttp.web, uvloop, orjson, ssl, sqlite3"
ADDRESS = re.compile(r"runs at (\S+),")


def spent() -> float:
    """CPU seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tool(name: str) -> str:
    """A program of this Python environment, or of the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"there is no {name}: pip install 'kubernel[test]'")
    return found


def timed(command: list[str], env: dict[str, str]) -> tuple[float, float, str]:
    """(seconds, CPU seconds, output) of a command."""
    cpu, wall = spent(), time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return time.perf_counter() - wall, spent() - cpu, done.stdout + done.stderr


def start(directory: str, env: dict[str, str]) -> dict[str, float | str]:
    """Start the cluster, wait until kubectl shows its node Ready, stop it."""
    environment = {**env, "KUBECONFIG": f"{directory}/kubeconfig"}
    begun = time.perf_counter()
    server = subprocess.Popen(
        [tool("kubernel"), "up", "--data-dir", directory, "--port", "0", "--timings"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        first = server.stdout.readline()
        up = time.perf_counter() - begun
        if not ADDRESS.search(first):
            raise SystemExit(f"the cluster did not start: {first}")
        while True:
            wall, _, text = timed([tool("kubectl"), "get", "nodes"], environment)
            if re.search(r"\bReady\b", text):
                break
            if time.perf_counter() - begun > 30:
                raise SystemExit(f"no node became Ready: {text}")
        total = time.perf_counter() - begun
        # CPU of the server up to now, while it still runs.
        fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        busy = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        server.terminate()
        rest = server.stdout.read()
        server.wait(30)
    budget = "\n".join(line for line in rest.splitlines() if re.match(r" +[\d.]+ ms  ", line))
    return {"total": total, "up": up, "kubectl": wall, "cpu": busy, "budget": budget}


def main(rounds: int = 10) -> None:
    # Installed packages come with their bytecode; a source tree gets it here.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="kubernel-bench-") as directory:
        start(directory, env)
    runs: dict[str, list[dict[str, float | str]]] = {"a new data directory": [], "a restart": []}
    stub: list[tuple[float, float, str]] = []
    for _ in range(rounds):
        stub.append(timed([sys.executable, "-c", LIBRARIES], env))
        with tempfile.TemporaryDirectory(prefix="kubernel-bench-") as directory:
            for found in runs.values():
                found.append(start(directory, env))
    wall, cpu = min(wall for wall, _, _ in stub), min(cpu for _, cpu, _ in stub)
    print(f"python -c '{LIBRARIES}':")
    print(f"  {wall * 1000:6.0f} ms, {cpu * 1000:.0f} ms CPU (best of {rounds})")
    for what, found in runs.items():
        totals = [float(run["total"]) for run in found]
        busy = min(float(run["cpu"]) for run in found)
        best = min(found, key=lambda run: float(run["total"]))
        print(f"\n`kubernel up` in {what} to `kubectl get nodes` with the node Ready, {rounds} rounds:")
        print(f"  {min(totals) * 1000:6.0f} ms best   {min(totals) / AIM:.2f} of the aim of {AIM} s")
        print(f"  {statistics.median(totals) * 1000:6.0f} ms median")
        print(f"  {float(best['up']) * 1000:6.0f} ms until it says that it runs")
        print(f"  {float(best['kubectl']) * 1000:6.0f} ms kubectl itself")
        print(f"  {busy * 1000:6.0f} ms CPU of the server, {busy / cpu:.1f} x the libraries'")
        print(best["budget"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
