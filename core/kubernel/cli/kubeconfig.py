"""``kubernel kubeconfig``: print where the admin's kubeconfig is, or merge it into the user's."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from kubernel.cli import options
from kubernel.config.document import read
from kubernel.errors import KubernelError

__all__ = ["kubeconfig", "merge"]


def kubeconfig(args: argparse.Namespace) -> int:
    cluster = options.configuration(args).cluster
    path = cluster.data_dir / "kubeconfig"
    if not path.is_file():
        raise KubernelError(f"there is no kubeconfig yet ({path}); start the cluster with `kubernel up`")
    if not args.merge:
        print(path if args.path else f"export KUBECONFIG={shlex.quote(str(path))}")
        return 0
    target = Path(args.into).expanduser() if args.into else _target()
    context = args.context or ("kubernel" if cluster.name == "kubernel" else f"kubernel-{cluster.name}")
    current = merge(path, target, context)
    print(f'Merged into {target} as context "{context}"')
    if current != context:
        print(f"The current context is still {current}; kubectl config use-context {context}")
    return 0


def _target() -> Path:
    named = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return Path(named[0]) if named else Path.home() / ".kube" / "config"


def merge(source: Path, target: Path, context: str) -> str:
    """Add the one cluster of ``source`` to ``target`` as ``context``; the result is the current context.

    Everything else in ``target`` stays as it is. A context of that name is replaced when it is for the
    same server, refused otherwise. The old file is kept as ``…​.kubernel-backup``, the new one replaces it in
    one step with mode 0600, under the lock file that kubectl uses.
    """
    import yaml

    ours = _read(source)
    target = target.resolve()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = target.with_name(f"{target.name}.lock")
    try:
        os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise KubernelError(f"{target} is being changed by another program ({lock} exists)") from error
    try:
        document = _read(target) if target.exists() else {}
        _merge(document, ours, context, target)
        if target.exists():
            _write(target.with_name(f"{target.name}.kubernel-backup"), target.read_bytes())
        _write(target, yaml.safe_dump(document, sort_keys=False).encode())
    finally:
        lock.unlink(missing_ok=True)
    return str(document["current-context"])


def _merge(document: dict[str, Any], ours: dict[str, Any], context: str, target: Path) -> None:
    cluster = ours["clusters"][0]["cluster"]
    user = ours["users"][0]["user"]
    old = next(
        (entry for entry in _entries(document, "clusters", target) if entry.get("name") == context), None
    )
    if old is not None:
        there = old.get("cluster") or {}
        same = ("server", "certificate-authority-data")
        if not any(there.get(key) == cluster.get(key) for key in same):
            raise KubernelError(
                f'{target} has another cluster named "{context}" ({there.get("server")}); '
                "choose a name with --context"
            )
    elif any(entry.get("name") == context for entry in _entries(document, "contexts", target)):
        raise KubernelError(f'{target} has another context named "{context}"; choose a name with --context')
    document.setdefault("apiVersion", "v1")
    document.setdefault("kind", "Config")
    _put(document, "clusters", {"name": context, "cluster": cluster}, target)
    _put(document, "users", {"name": context, "user": user}, target)
    _put(document, "contexts", {"name": context, "context": {"cluster": context, "user": context}}, target)
    document["current-context"] = document.get("current-context") or context


def _entries(document: dict[str, Any], key: str, target: Path) -> list[dict[str, Any]]:
    entries = document.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KubernelError(f"{target} is not a kubeconfig: {key} is not a list of entries")
    return entries


def _put(document: dict[str, Any], key: str, entry: dict[str, Any], target: Path) -> None:
    entries = _entries(document, key, target)
    others = [other for other in entries if other.get("name") != entry["name"]]
    document[key] = [*others, entry]


def _read(path: Path) -> dict[str, Any]:
    document = read(path).plain()
    if not isinstance(document, dict):
        raise KubernelError(f"{path} is not a kubeconfig")
    return document


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
