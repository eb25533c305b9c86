"""Secrets are not in the database file in plain text, and keys can be changed."""

from __future__ import annotations

import base64
import contextlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel.errors import PluginError
from kubernel.testing import Cluster
from kubernel_plugins.store.encryption import Encryption
from kubernel_plugins.store.encryption.ciphers import AesCbc, AesGcm, Cipher, Secretbox

KEYS = {
    "aesgcm": AesGcm("k", bytes(range(32))),
    "aescbc": AesCbc("k", bytes(range(32))),
    "secretbox": Secretbox("k", bytes(range(32))),
}
HIDDEN = "the-hidden-word"


def key(name: str, fill: int) -> dict[str, str]:
    return {"name": name, "secret": base64.b64encode(bytes([fill]) * 32).decode()}


def providers(*entries: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": list(entries)}],
    }


def aesgcm(*keys: dict[str, str]) -> dict[str, Any]:
    return {"aesgcm": {"keys": list(keys)}}


def moving(directory: Path, document: Any) -> Cluster:
    """With a clock that the test moves."""
    return cluster(directory, document, real_time=False)


def cluster(directory: Path, document: Any = None, *, real_time: bool = True) -> Cluster:
    settings = {}
    if document is not None:
        path = directory / "keys.json"
        path.write_text(json.dumps(document))
        settings["encryption"] = str(path)
    plugins = {"store": {"sqlite": settings}, "controller": ["bootstrap"], "scheduler": None, "node": None}
    return Cluster(config={"plugins": plugins}, data_dir=directory / "data", real_time=real_time)


def on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((directory / "data" / "store").glob("kubernel.db*")))


def put(running: Cluster, name: str = "s") -> None:
    running.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": HIDDEN}}
    )


def word(running: Cluster, name: str = "s") -> str:
    return base64.b64decode(running.get("secrets", name)["data"]["a"]).decode()


ENCODED = base64.b64encode(HIDDEN.encode())


def test_secrets_are_encrypted_by_default_with_a_key_outside_of_the_database(tmp_path: Path) -> None:
    with cluster(tmp_path) as running:
        put(running)
        running.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "in-the-open"}}
        )
        assert word(running) == HIDDEN
    disk = on_disk(tmp_path)
    assert ENCODED not in disk
    assert b"k8s:enc:aesgcm:v1:key1:" in disk
    assert b"in-the-open" in disk
    made = tmp_path / "data" / "pki" / "encryption.yaml"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    secret = json.loads(made.read_text())["resources"][0]["providers"][0]["aesgcm"]["keys"][0]["secret"]
    assert secret.encode() not in disk
    with cluster(tmp_path) as again:
        assert word(again) == HIDDEN


def test_what_was_stored_in_plain_text_is_encrypted_after_the_next_start(tmp_path: Path) -> None:
    with cluster(tmp_path, providers({"identity": {}})) as running:
        put(running)
        before = running.get("secrets", "s")["metadata"]["resourceVersion"]
    assert ENCODED in on_disk(tmp_path)
    with cluster(tmp_path, providers(aesgcm(key("new", 1)), {"identity": {}})) as running:
        assert word(running) == HIDDEN
        running.wait(lambda: running.get("secrets", "s")["metadata"]["resourceVersion"] != before)
    with cluster(tmp_path, providers(aesgcm(key("new", 1)))) as running:
        assert word(running) == HIDDEN


def test_a_key_is_changed_by_putting_another_first_and_the_old_one_is_not_needed_any_more(
    tmp_path: Path,
) -> None:
    old, new = key("old", 1), key("new", 2)
    with cluster(tmp_path, providers(aesgcm(old))) as running:
        put(running)
        before = running.get("secrets", "s")["metadata"]["resourceVersion"]
    with cluster(tmp_path, providers(aesgcm(new, old))) as running:
        running.wait(lambda: running.get("secrets", "s")["metadata"]["resourceVersion"] != before)
        put(running, "t")
    with cluster(tmp_path, providers(aesgcm(new))) as running:
        assert word(running) == word(running, "t") == HIDDEN
        put(running, "u")
        running.delete("secrets", "s")
    with cluster(tmp_path, providers(aesgcm(key("newest", 3), new))) as running:
        assert running.find("secrets", "s") is None
        assert word(running, "u") == HIDDEN


def test_new_keys_are_taken_while_the_cluster_runs(tmp_path: Path) -> None:
    old, new = key("old", 1), key("new", 2)
    with moving(tmp_path, providers(aesgcm(old))) as running:
        put(running)
        before = running.get("secrets", "s")["metadata"]["resourceVersion"]
        (tmp_path / "keys.json").write_text(json.dumps(providers(aesgcm(new, old))))
        running.clock.advance(61)
        for _ in range(1_000_000):
            # The database is read in a thread, for which the cluster's clock does not wait.
            if running.get("secrets", "s")["metadata"]["resourceVersion"] != before:
                break
        put(running, "t")
        assert word(running) == word(running, "t") == HIDDEN
    with cluster(tmp_path, providers(aesgcm(new))) as running:
        assert word(running) == word(running, "t") == HIDDEN


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(providers(aesgcm(key("other", 3)))), id="without-a-key-that-is-needed"),
        pytest.param(json.dumps(providers(aesgcm({"name": "k", "secret": "short"}))), id="not-usable"),
        pytest.param("{", id="cut-short"),
    ],
)
def test_keys_that_cannot_be_used_leave_those_before_in_use(tmp_path: Path, text: str) -> None:
    with moving(tmp_path, providers(aesgcm(key("old", 1)))) as running:
        put(running)
        (tmp_path / "keys.json").write_text(text)
        running.clock.advance(61)
        put(running, "t")
        assert word(running) == HIDDEN
    with cluster(tmp_path, providers(aesgcm(key("old", 1)))) as running:
        assert word(running) == word(running, "t") == HIDDEN


def test_without_its_key_the_store_does_not_open(tmp_path: Path) -> None:
    with cluster(tmp_path, providers(aesgcm(key("one", 1)))) as running:
        put(running)
    with pytest.raises(PluginError, match="no provider of the configuration has its key"):
        cluster(tmp_path, providers(aesgcm(key("two", 2))))
    with pytest.raises(PluginError, match="the authentication tag is wrong"):
        cluster(tmp_path, providers(aesgcm(key("one", 2))))


@pytest.mark.parametrize("cipher", KEYS.values(), ids=KEYS)
@given(value=st.binary(max_size=300))
def test_what_is_sealed_opens_with_its_key_alone(cipher: Cipher, value: bytes) -> None:
    sealed = cipher.seal(value, b"/registry/secrets/default/a")
    assert cipher.open(sealed, b"/registry/secrets/default/a") == value
    other = type(cipher)("k", bytes(32))  # type: ignore[call-arg]
    with contextlib.suppress(ValueError):
        assert other.open(sealed, b"/registry/secrets/default/a") != value


def test_an_encrypted_value_is_good_at_its_own_place_only() -> None:
    cipher = KEYS["aesgcm"]
    sealed = cipher.seal(b"value", b"/registry/secrets/default/a")
    with pytest.raises(ValueError, match="authentication tag"):
        cipher.open(sealed, b"/registry/secrets/default/b")


def test_secretbox_is_nacls() -> None:
    box = Secretbox("k", bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"))
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    message = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01"
        "233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd"
        "4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
    )
    assert box.box(nonce, message).hex() == (
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c"
        "98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfea"
        "bd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
    )


@pytest.mark.parametrize(
    ("document", "told"),
    [
        pytest.param({"kind": "Config"}, "is no EncryptionConfiguration", id="kind"),
        pytest.param(
            providers({"kms": {"apiVersion": "v2", "name": "x", "endpoint": "unix:///x"}}),
            r"resources\[0\].providers\[0\].kms: key management services are not supported", id="kms",
        ),
        pytest.param(providers({"rot13": {}}), 'unknown provider "rot13"', id="unknown"),
        pytest.param(
            providers(aesgcm({"name": "k", "secret": "AAAA"})), "got 3, expected one of 16, 24, 32", id="length"
        ),
        pytest.param(providers(aesgcm({"name": "k", "secret": "?"})), "must be base64 encoded", id="base64"),
        pytest.param(providers(aesgcm()), "at least one key is required", id="no-keys"),
        pytest.param(providers(), "at least one provider is required", id="no-providers"),
        pytest.param(providers(aesgcm(key("a:b", 1))), 'must not contain ":"', id="name"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path, document: Any, told: str) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text(json.dumps(document))
    with pytest.raises(PluginError, match=told):
        Encryption.read(path)


def test_the_first_entry_that_names_a_resource_counts(tmp_path: Path) -> None:
    document = providers(aesgcm(key("one", 1)))
    document["resources"].append(
        {"resources": ["configmaps", "*.apps"], "providers": [aesgcm(key("two", 2))]}
    )
    document["resources"].append({"resources": ["*.*"], "providers": [{"identity": {}}]})
    path = tmp_path / "encryption.yaml"
    path.write_text(json.dumps(document))
    read = Encryption.read(path)
    found = {name: read.of(name) for name in ("secrets", "configmaps", "deployments.apps", "pods")}
    prefixes = {name: one.ciphers[0].prefix for name, one in found.items() if one is not None}
    assert prefixes == {
        "secrets": b"k8s:enc:aesgcm:v1:one:", "configmaps": b"k8s:enc:aesgcm:v1:two:",
        "deployments.apps": b"k8s:enc:aesgcm:v1:two:", "pods": b"",
    }  # fmt: skip
