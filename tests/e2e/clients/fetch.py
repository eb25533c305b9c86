"""Fetch what the client tests need and pip does not install: kopf's examples and both Helms.

    python fetch.py DIRECTORY

What cannot be had is left out with a word about it; the tests that need it skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

HELM = {
    "helm3": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "helm4": "helm.sh/helm/v4/cmd/helm@v4.3.1",
}


def kopf_examples(into: Path) -> None:
    version = metadata.version("kopf")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, f"kopf=={version}", "-d", str(into)], check=True)
    with tarfile.open(next(into.glob("kopf-*.tar.gz"))) as archive:
        archive.extractall(into, filter="data")
    shutil.copytree(into / f"kopf-{version}" / "examples", into / "kopf-examples")


def helm(into: Path, name: str, package: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise FileNotFoundError("go is not installed")
    target = into / name
    subprocess.run([go, "install", package], env={**os.environ, "GOBIN": str(target)}, check=True)


def main(into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    wanted = [("kopf-examples", lambda: kopf_examples(into))]
    wanted += [(name, lambda n=name, p=package: helm(into, n, p)) for name, package in HELM.items()]
    for name, fetch in wanted:
        if (into / name).exists():
            continue
        try:
            fetch()
        except (
            OSError,
            StopIteration,
            subprocess.CalledProcessError,
            metadata.PackageNotFoundError,
        ) as error:
            sys.stderr.write(f"{name}: {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
