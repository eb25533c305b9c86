"""Fetch what the client tests need and pip does not install: kopf's examples, both Helms, the program on
client-go, and Kubernetes' published examples of every type.

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
CLIENT_GO = Path(__file__).resolve().with_name("clientgo")


def kopf_examples(into: Path) -> None:
    version = metadata.version("kopf")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, f"kopf=={version}", "-d", str(into)], check=True)
    with tarfile.open(next(into.glob("kopf-*.tar.gz"))) as archive:
        archive.extractall(into, filter="data")
    shutil.copytree(into / f"kopf-{version}" / "examples", into / "kopf-examples")


def go(*args: str, **environment: str) -> str:
    """What ``go`` prints, run in the folder of the program on client-go."""
    program = shutil.which("go")
    if program is None:
        raise FileNotFoundError("go is not installed")
    done = subprocess.run(
        [program, *args],
        cwd=CLIENT_GO,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def helm(into: Path, name: str, package: str) -> None:
    go("install", package, GOBIN=str(into / name))


def client_go(into: Path) -> None:
    go("build", "-o", str(into / "client-go"), ".")


def published(into: Path) -> None:
    """Every type with every field set, as JSON and as protobuf."""
    go("mod", "download", "k8s.io/api")
    folder = Path(go("list", "-m", "-f", "{{.Dir}}", "k8s.io/api")) / "testdata" / "HEAD"
    target = into / "published"
    target.mkdir()
    for path in folder.iterdir():
        if path.suffix in (".json", ".pb"):
            shutil.copyfile(path, target / path.name)


def main(into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    wanted = [
        ("kopf-examples", lambda: kopf_examples(into)),
        ("client-go", lambda: client_go(into)),
        ("published", lambda: published(into)),
    ]
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
