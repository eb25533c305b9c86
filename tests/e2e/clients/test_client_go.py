"""Go programs on client-go, in JSON and in protobuf: ``clientgo/main.go``, one step a test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from kubernel_plugins.api.builtin import protobuf_codec

STEPS = {
    "crud": "create, get, update, delete, deletecollection",
    "patches": "merge, JSON and strategic merge patches",
    "apply": "server-side apply with conflicts",
    "watch": "watches and streaming lists",
    "informers": "shared informers",
    "metadata": "metadata-only clients and informers",
    "chunks": "lists in chunks",
    "refusals": "typed errors",
    "subs": "scale, token and eviction",
    "discovery": "discovery and OpenAPI",
    "leadership": "leader election",
}


@pytest.mark.parametrize("media", ["json", "protobuf"])
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=pytest.mark.behaviour(STEPS[step])) for step in STEPS]
)
def test_a_go_program(
    step: str,
    media: str,
    tools: Path,
    kubeconfig: Path,
    namespace: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("client", f"client-go ({media})")
    program = tools / "client-go"
    if not program.exists():
        pytest.skip("the program was not built: it needs go and its modules")
    options = ["-kubeconfig", str(kubeconfig), "-namespace", namespace]
    done = subprocess.run(
        [str(program), *options, *(["-protobuf"] if media == "protobuf" else []), step],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_every_published_example_is_written_and_read_byte_for_byte(
    tools: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("client", "client-go (protobuf)")
    if not (tools / "published").is_dir():
        pytest.skip("the examples were not fetched: it needs go and its modules")
    codec = protobuf_codec()
    tried = 0
    for path in sorted((tools / "published").glob("*.pb")):
        obj = orjson.loads(path.with_suffix(".json").read_bytes())
        api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
        if codec.serves(api_version, kind):
            written = codec.envelope(api_version, kind, codec.message(api_version, kind, obj))
            assert written == path.read_bytes(), path.name
            assert codec.decode(written) == obj, path.name
            tried += 1
    assert tried > 100
