"""The subcommands. They work on the cluster's files, whether it runs or not."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubernel.cli import options
from kubernel.clock import RealClock, rfc3339
from kubernel.errors import KubernelError
from kubernel_plugins.authority import Authority
from kubernel_plugins.keyfiles import KeyFiles

_SHOWN = 5
"""Of what a check found; JSON has all of it."""

__all__ = ["create_user", "doctor", "list_certificates", "renew_certificates"]


def _authority(data_dir: Path) -> Authority:
    if not (data_dir / "pki" / "ca.key").is_file():
        raise KubernelError(
            f"there is no certificate authority yet ({data_dir}); start the cluster with `kubernel up`"
        )
    return Authority.open(data_dir / "pki")


def _files(args: argparse.Namespace) -> KeyFiles:
    data_dir = options.configuration(args).cluster.data_dir
    return KeyFiles(data_dir / "pki", _authority(data_dir))


def list_certificates(args: argparse.Namespace) -> int:
    files, now = _files(args), RealClock().time()
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "commonName": known["issuedFor"]["commonName"],
            "organizations": known["issuedFor"]["organizations"],
            "usage": known["issuedFor"]["usage"],
            "expires": rfc3339(known["expires"]),
            "daysLeft": int((known["expires"] - now) // 86400),
        }
        for name, known in files.issued().items()
    ]
    ends = _end(files.authority.ca_certificate)
    rows.append(
        {
            "name": "ca", "commonName": "kubernetes", "organizations": [], "usage": "authority",
            "expires": rfc3339(ends), "daysLeft": int((ends - now) // 86400),
        }
    )  # fmt: skip
    if args.output == "json":
        print(json.dumps(rows, indent=2))
        return 0
    told = [("NAME", "COMMON NAME", "ORGANIZATIONS", "USAGE", "EXPIRES", "DAYS LEFT")]
    told += [
        (
            row["name"],
            row["commonName"],
            ",".join(row["organizations"]),
            row["usage"],
            row["expires"],
            str(row["daysLeft"]),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in told) for column in range(len(told[0]))]
    for line in told:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    return 0


def renew_certificates(args: argparse.Namespace) -> int:
    files = _files(args)
    known = files.issued()
    for name in args.names:
        if name not in known:
            raise KubernelError(f'there is no certificate "{name}"; there are {", ".join(known)}')
    for name in args.names or known:
        files.renew(name)
        print(f"renewed {name}")
    return 0


def create_user(args: argparse.Namespace) -> int:
    cluster = options.configuration(args).cluster
    authority = _authority(cluster.data_dir)
    if args.days < 1:
        raise KubernelError("--days must be at least 1")
    server = _server(cluster.data_dir / "kubeconfig")
    if args.token and args.group:
        raise KubernelError("--group is for a certificate: a token's groups are known to who checks it")
    if args.token:
        shown = f"    token: {json.dumps(args.token)}\n"
    else:
        pair = authority.issue(args.user, organizations=tuple(args.group), usage="client", days=args.days)
        shown = (
            f"    client-certificate-data: {_b64(pair.certificate)}\n    client-key-data: {_b64(pair.key)}\n"
        )
    sys.stdout.write(
        f"""\
apiVersion: v1
kind: Config
clusters:
- name: {cluster.name}
  cluster:
    server: {server}
    certificate-authority-data: {_b64(authority.ca_certificate)}
contexts:
- name: {cluster.name}
  context:
    cluster: {cluster.name}
    user: {json.dumps(args.user)}
current-context: {cluster.name}
users:
- name: {json.dumps(args.user)}
  user:
{shown}"""
    )
    return 0


def doctor(args: argparse.Namespace) -> int:
    from kubernel.cli.handle import run
    from kubernel_plugins.cli.security import checks, live

    config = options.configuration(args)
    level = checks.enforced(config)
    refused = ""
    try:
        asked = run("security", config.cluster, lambda client: live.examine(client, level))
    except KubernelError as error:
        refused = str(error)
        asked = live.skipped(refused)
    findings = sorted([*checks.examine(config), *asked], key=lambda one: [*map(int, one.id.split("."))])
    if args.output == "json":
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"[{finding.result}] {finding.id} {finding.title}")
            if finding.result in ("WARN", "FAIL"):
                if finding.found:
                    print(f"       found: {_few(finding.found)}")
                print(f"       {finding.remedy}")
        if refused:
            print(f"What only a running cluster can tell was left out: {refused}")
        counts = [
            f"{sum(one.result == result for one in findings)} {result}"
            for result in ("PASS", "WARN", "FAIL", "SKIP")
        ]
        print(", ".join(counts))
    return 1 if any(finding.result == "FAIL" for finding in findings) else 0


def _few(found: Sequence[str]) -> str:
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _server(kubeconfig: Path) -> str:
    from kubernel.client.kubeconfig import load_kubeconfig

    return load_kubeconfig(kubeconfig).url


def _end(pem: bytes) -> float:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
