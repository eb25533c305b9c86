"""Certificates that come to their end are issued again by the running server; clients go on through it. And those of
another authority, over TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "api" / "http"))
from http_harness import PODS, Raw, World, run, serving

from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.clock import RealClock, VirtualClock
from kubernel.testing import Cluster
from kubernel_plugins.authority import Authority

DAY = 86400


def soon_over(pki: Path, name: str) -> None:
    """The note beside a certificate says that it ends in 29 days: a day less than it should still have."""
    note = pki / f"{name}.json"
    told = json.loads(note.read_text())
    note.write_text(json.dumps({**told, "expires": int(RealClock().time()) + 29 * DAY}))


async def shown(world: World) -> bytes:
    raw = await Raw.open(world)
    der: bytes = raw.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert (await raw.request("GET", PODS)).status == 200
    await raw.close()
    return der


def test_the_servers_and_the_administrators_certificates_are_renewed_by_the_timer_under_running_clients(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        clock = VirtualClock()

        async def settle() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        async with serving(tmp_path, clock=clock) as world:
            pki, kubeconfig = tmp_path / "pki", tmp_path / "kubeconfig"
            kept, before = await Raw.open(world), await shown(world)
            assert (await kept.request("GET", PODS)).status == 200
            admin = load_kubeconfig(kubeconfig).certificate
            await clock.advance(61, settle)
            assert await shown(world) == before
            for name in ("apiserver", "admin"):
                soon_over(pki, name)
            await clock.advance(61, settle)
            after = await shown(world)
            assert after != before
            assert ssl.DER_cert_to_PEM_cert(after).encode() in (pki / "apiserver.crt").read_bytes()
            renewed = load_kubeconfig(kubeconfig)
            assert renewed.certificate not in (None, admin)
            # Who was there stays, and who comes with the old kubeconfig, or with the new one, is let in.
            assert (await kept.request("GET", PODS)).status == 200
            again = await Raw.open(world, renewed.ssl_context())
            assert (await again.request("GET", PODS)).status == 200

    run(work())


@pytest.mark.parametrize("headers", [{}, {"X-Remote-User": "jane", "X-Remote-Group": "system:masters"}])
def test_a_proxy_of_another_authority_is_let_in_for_its_users_and_not_for_itself(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    proxies = Authority.open(tmp_path / "proxies")
    pair = proxies.issue("system:admin", organizations=("system:masters",))
    own = tmp_path / "proxy.pem"
    own.write_bytes(pair.certificate + pair.key)
    settings = {"clientCaFile": str(tmp_path / "proxies" / "ca.crt")}
    auth = [{"request_header": settings}, "x509", "rbac"]
    config: Any = {"plugins": {"auth": auth, "node": None, "scheduler": None}}
    with Cluster(config=config, https=True, real_time=True) as cluster:
        access = load_kubeconfig(cluster.kubeconfig)
        context = ssl.create_default_context(cadata=(access.ca or b"").decode())
        context.load_cert_chain(own)
        host, _, port = access.url.removeprefix("https://").rpartition(":")

        async def ask() -> int:
            raw = Raw(*await asyncio.open_connection(host, int(port), ssl=context))
            status = (await raw.request("GET", "/api/v1/nodes", headers=headers)).status
            await raw.close()
            return status

        assert asyncio.run(ask()) == (200 if headers else 401)
