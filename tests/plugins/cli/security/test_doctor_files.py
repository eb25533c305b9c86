"""What ``kubernel doctor --security`` finds in files and configuration: every check passed and not passed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kubernel.config import parse
from kubernel_plugins.cli.security import checks

EVERYTHING = {"level": "RequestResponse"}
ALL = "*"
KEY = {"name": "k", "secret": "A" * 43 + "="}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files as a cluster makes them."""
    place = tmp_path / "data"
    for name in ("store/kubernel.db", "pki/ca.key", "pki/ca.crt", "kubeconfig", "logs/audit.log"):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    place.chmod(0o700)
    return place


def result(data: Path, number: str, plugins: Any = None) -> set[str]:
    config = parse({"cluster": {"dataDir": str(data)}, "plugins": plugins or {}})
    return {one.result for one in checks.examine(config) if one.id == number}


@pytest.mark.parametrize(
    ("number", "name", "mode"),
    [
        pytest.param("1.1.11", "", 0o755, id="data-directory"),
        pytest.param("1.1.11", "store/kubernel.db", 0o640, id="database"),
        pytest.param("1.1.13", "kubeconfig", 0o644, id="kubeconfig"),
        pytest.param("1.1.20", "pki/ca.crt", 0o666, id="certificate"),
        pytest.param("1.1.21", "pki/ca.key", 0o644, id="key"),
        pytest.param("1.2.16", "logs/audit.log", 0o644, id="audit-log"),
    ],
)
def test_a_file_that_others_may_read_or_write_fails(data: Path, number: str, name: str, mode: int) -> None:
    assert result(data, number) == {"PASS"}
    (data / name).chmod(mode)
    assert result(data, number) == {"FAIL"}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="changing owners needs root")
@pytest.mark.parametrize(
    ("number", "name"),
    [
        pytest.param("1.1.12", "store/kubernel.db", id="database"),
        pytest.param("1.1.14", "kubeconfig", id="kubeconfig"),
        pytest.param("1.1.19", "pki/ca.key", id="key"),
    ],
)
def test_a_file_of_another_owner_fails(data: Path, number: str, name: str) -> None:
    assert result(data, number) == {"PASS"}
    os.chown(data / name, 12345, -1)
    assert result(data, number) == {"FAIL"}


@pytest.mark.parametrize(
    ("number", "plugins", "bad"),
    [
        pytest.param("1.2.1", {"auth": [ALL, {"anonymous": {"paths": ["/api*"]}}]}, "FAIL", id="anonymous"),
        pytest.param("1.2.2", {"auth": [ALL, {"token": {"tokens": {"t": "u"}}}]}, "FAIL", id="tokens"),
        pytest.param("1.2.6", {"auth": ["x509"]}, "FAIL", id="no-authorizer"),
        pytest.param("1.2.7", {"auth": ["x509", "rbac"]}, "FAIL", id="no-node-authorizer"),
        pytest.param("1.2.8", {"auth": ["x509", "node"]}, "FAIL", id="no-rbac"),
        pytest.param("1.2.12", {"admission": [ALL, "-serviceaccount"]}, "FAIL", id="accounts"),
        pytest.param("1.2.13", {"admission": [ALL, "-namespace_lifecycle"]}, "FAIL", id="namespaces"),
        pytest.param("1.2.14", {"admission": [ALL, "-node_restriction"]}, "FAIL", id="node-restriction"),
        pytest.param("1.2.16", {"audit": []}, "FAIL", id="no-audit-log"),
        pytest.param("1.2.17", {"audit": [{"log": {"maxAge": 7}}]}, "FAIL", id="audit-age"),
        pytest.param("1.2.18", {"audit": [{"log": {"maxBackups": 1}}]}, "FAIL", id="audit-backups"),
        pytest.param("1.2.19", {"audit": [{"log": {"maxSize": 1}}]}, "FAIL", id="audit-size"),
        pytest.param("1.2.27", {"store": {"sqlite": {"encryption": ""}}}, "FAIL", id="no-encryption"),
        pytest.param("3.2.1", {"audit": []}, "FAIL", id="no-audit"),
        pytest.param("5.2.1", {"admission": [ALL, "-pod_security"]}, "FAIL", id="no-pod-security"),
    ],
)
def test_a_careless_setting_fails(data: Path, number: str, plugins: Any, bad: str) -> None:
    assert result(data, number) == {"PASS"}
    assert result(data, number, plugins) == {bad}


@pytest.mark.parametrize(
    ("number", "plugins"),
    [
        pytest.param("1.2.3", {"admission": [ALL, "deny_service_external_ips"]}, id="external-ips"),
        pytest.param("1.2.9", {"admission": [ALL, {"event_rate_limit": {}}]}, id="event-rate"),
        pytest.param("1.2.11", {"admission": [ALL, "always_pull_images"]}, id="pull"),
        pytest.param("5.2.2", {"admission": [ALL, {"pod_security": {"defaults": {"enforce": "baseline"}}}]}, id="pods"),
        pytest.param("5.3.1", {"network": "other"}, id="network"),
        pytest.param("5.5.1", {"admission": [ALL, "image_policy"]}, id="images"),
    ],
)  # fmt: skip
def test_what_the_owner_may_decide_is_a_warning_until_it_is(data: Path, number: str, plugins: Any) -> None:
    assert result(data, number) == {"WARN"}
    assert result(data, number, plugins) == {"PASS"}


@pytest.mark.parametrize(
    ("providers", "encrypted", "named"),
    [
        pytest.param({"aesgcm": {"keys": [KEY]}}, "PASS", "WARN", id="aesgcm"),
        pytest.param({"secretbox": {"keys": [KEY]}}, "PASS", "PASS", id="secretbox"),
        pytest.param({"identity": {}}, "FAIL", "PASS", id="identity"),
    ],
)  # fmt: skip
def test_the_first_provider_is_what_secrets_are_encrypted_with(
    data: Path, providers: Any, encrypted: str, named: str
) -> None:
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [providers]}],
    }
    path = data / "pki" / "encryption.yaml"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    assert (result(data, "1.2.27"), result(data, "1.2.28")) == ({encrypted}, {named})
    path.chmod(0o640)
    assert result(data, "1.1.21") == {"FAIL"}


@pytest.mark.parametrize(
    ("rules", "results"),
    [
        pytest.param([{"level": "Metadata"}], {"PASS"}, id="metadata-of-all"),
        pytest.param([EVERYTHING], {"FAIL", "PASS"}, id="bodies-of-secrets"),
        pytest.param(
            [{"level": "Metadata", "resources": [{"group": ""}]}], {"PASS", "WARN"}, id="no-deployments"
        ),
        pytest.param(
            [{"level": "None", "verbs": ["get"]}, {"level": "Metadata"}], {"PASS", "WARN"}, id="no-reads"
        ),
    ],
)
def test_an_audit_policy_keeps_secrets_out_and_covers_what_matters(
    data: Path, tmp_path: Path, rules: Any, results: set[str]
) -> None:
    assert result(data, "3.2.2") == {"PASS"}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
    assert result(data, "3.2.2", {"api": [{"http": {"auditPolicy": str(policy)}}]}) == results


def test_a_certificate_that_has_ended_fails(data: Path) -> None:
    assert result(data, "1.2.24") == {"PASS"}
    (data / "pki" / "apiserver.json").write_text(json.dumps({"expires": 1}))
    assert result(data, "1.2.24") == {"FAIL"}
