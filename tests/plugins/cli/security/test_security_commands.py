"""``kubernel certs``, ``user create`` and ``doctor --security`` on a cluster's files."""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "api" / "http"))
from http_harness import Raw, World, run, serving

from kubernel.cli.main import main
from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.clock import RealClock
from kubernel.plugin.contract import KeyPair
from kubernel.testing import Cluster
from kubernel_plugins.authority import Authority
from kubernel_plugins.keyfiles import KeyFiles


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a cluster that has run."""
    directory = tmp_path / "data"
    plugins = {"store": "sqlite", "controller": ["bootstrap"], "scheduler": None, "node": None}
    with Cluster(config={"plugins": plugins}, data_dir=directory, https=True):
        pass
    return directory


def command(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    code = main([str(one) for one in arguments])
    return code, capsys.readouterr().out


def test_certificates_are_listed_and_renewed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = command(capsys, "certs", "list", "--data-dir", data, "-o", "json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(text)}
    assert rows["admin"]["organizations"] == ["system:masters"]
    assert rows["apiserver"]["usage"] == "server"
    assert 300 < rows["apiserver"]["daysLeft"] <= 365 < rows["ca"]["daysLeft"]
    before = {name: (data / "pki" / f"{name}.crt").read_bytes() for name in ("admin", "apiserver")}
    assert command(capsys, "certs", "renew", "apiserver", "--data-dir", data) == (0, "renewed apiserver\n")
    assert (data / "pki" / "apiserver.crt").read_bytes() != before["apiserver"]
    assert (data / "pki" / "admin.crt").read_bytes() == before["admin"]
    assert command(capsys, "certs", "renew", "nothing", "--data-dir", data)[0] != 0


def test_a_new_user_gets_a_kubeconfig_that_the_cluster_knows(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, text = command(
        capsys, "user", "create", "jane", "--group", "devs", "--group", "ops", "--data-dir", data
    )
    assert code == 0
    file = tmp_path / "jane.yaml"
    file.write_text(text)
    access = load_kubeconfig(file)
    assert access.certificate is not None
    from kubernel_plugins.auth.certificates import subject

    der = ssl.PEM_cert_to_DER_cert(access.certificate.decode())
    assert subject(der) == ("jane", ("devs", "ops"))
    assert access.url == load_kubeconfig(data / "kubeconfig").url


def test_a_users_kubeconfig_has_the_token_that_was_given(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, text = command(capsys, "user", "create", "jane", "--token", "a.b.c", "--data-dir", data)
    assert code == 0
    file = tmp_path / "jane.yaml"
    file.write_text(text)
    access = load_kubeconfig(file)
    assert (access.token, access.certificate) == ("a.b.c", None)
    code, _ = command(
        capsys, "user", "create", "jane", "--token", "a.b.c", "--group", "devs", "--data-dir", data
    )
    assert code == 1


def test_a_default_cluster_has_no_failed_check_and_a_careless_one_has(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, text = command(capsys, "doctor", "--security", "--data-dir", data)
    assert "0 FAIL" in text
    assert code == 0
    assert "[WARN] 1.2.9 events are limited" in text
    careless = tmp_path / "careless.yaml"
    careless.write_text(
        json.dumps(
            {
                "apiVersion": "kubernel.dev/v1", "kind": "Configuration",
                "plugins": {
                    "store": {"sqlite": {"encryption": ""}},
                    "auth": ["x509", {"token": {"tokens": {"t": "u"}}}, {"anonymous": {"paths": ["*"]}}, "rbac"],
                    "admission": ["*", "-node_restriction", "-pod_security"],
                    "audit": [{"log": {"maxAge": 1}}],
                },
            }
        )
    )  # fmt: skip
    (data / "kubeconfig").chmod(0o644)
    code, text = command(
        capsys, "doctor", "--security", "--data-dir", data, "--config", careless, "-o", "json"
    )
    assert code == 1
    failed = {one["id"] for one in json.loads(text) if one["result"] == "FAIL"}
    assert failed == {"1.1.13", "1.2.1", "1.2.2", "1.2.7", "1.2.14", "1.2.17", "1.2.27", "5.2.1"}
    assert all(one["remedy"] for one in json.loads(text))


def test_a_running_server_shows_its_new_certificate_without_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path) as world:
            plugin: Any = world.plugin("api/http")
            shown = await _certificate(world)
            authority = world.hooks.certificate_authority()
            assert isinstance(authority, Authority)
            KeyFiles(tmp_path / "pki", authority).renew("apiserver")
            assert await _certificate(world) == shown
            plugin.look()
            assert await _certificate(world) != shown

    run(work())


async def _certificate(world: World) -> bytes:
    raw = await Raw.open(world)
    tls = raw.writer.get_extra_info("ssl_object")
    der: bytes = tls.getpeercert(binary_form=True)
    await raw.close()
    return der


def test_a_certificate_that_is_about_to_end_is_issued_again(tmp_path: Path) -> None:
    issued: list[str] = []

    class Counting:
        ca_certificate = b"ca"

        def issue(self, common_name: str, **_: Any) -> KeyPair:
            issued.append(common_name)
            return KeyPair(b"certificate", b"key")

    files = KeyFiles(tmp_path, Counting())
    files.pair("x", "user", usage="client")
    files.pair("x", "user", usage="client")
    assert issued == ["user"]
    note = tmp_path / "x.json"
    known = json.loads(note.read_text())
    note.write_text(json.dumps({**known, "expires": int(RealClock().time()) + 29 * 86400}))
    files.pair("x", "user", usage="client")
    assert issued == ["user", "user"]
