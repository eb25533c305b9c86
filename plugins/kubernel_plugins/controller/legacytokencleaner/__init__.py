"""Clears away tokens in Secrets that clusters before v1.24 made by themselves and nobody uses.

Source: k8s.io/kubernetes/pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go,
pkg/controlplane/controller/legacytokentracking (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kubernel.client.naming import groups_of
from kubernel.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubernel.objects import meta, times
from kubernel.plugin import Plugin as BasePlugin
from kubernel_plugins import legacytokens

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_USER = "system:serviceaccount:kube-system:legacy-service-account-token-cleaner"
_TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
_NAMESPACE = "kube-system"
_INTERVAL = 86400.0
_UNUSED = 365 * 86400.0
"""Seconds without use after which a token is marked, and after that again deleted."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_REFERENCES = ("secret", "secretRef", "secretKeyRef", "nodePublishSecretRef")


def _secrets_in(value: Any) -> Iterator[str]:
    """Names of the secrets that a pod's spec mentions, wherever it does."""
    if isinstance(value, list):
        for entry in value:
            yield from _secrets_in(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key == "secretName":
                yield str(entry)
            elif key in _REFERENCES and isinstance(entry, dict) and "name" in entry:
                yield str(entry["name"])
            elif key == "imagePullSecrets":
                yield from (str(one.get("name")) for one in entry)
            yield from _secrets_in(entry)


class Plugin(BasePlugin):
    """The ``legacytokencleaner`` controller: looks once a day."""

    async def start(self) -> None:
        self._client = self.handle.client(_USER, groups_of(_USER))
        self._secrets = self._client.informer("secrets")
        self._pods = self._client.informer("pods")
        self._accounts = self._client.informer("serviceaccounts")
        self.handle.spawn(self._run(), "legacy token cleaner")

    async def _run(self) -> None:
        for informer in (self._secrets, self._pods, self._accounts):
            await informer.synced()
        while True:
            try:
                await self._look(times.parse(f"{await self._tracked_since()}T00:00:00Z"))
            except (ApiError, OSError, ValueError) as error:
                self.handle.log.warning("legacy tokens are not looked at: {}", error)
            await self.handle.clock.sleep(_INTERVAL)

    async def _tracked_since(self) -> str:
        """The day from which on uses are noted; today in a new cluster."""
        admin = self.handle.client("system:apiserver", ("system:masters",))
        try:
            found = await admin.get("configmaps", _TRACKING, _NAMESPACE)
        except NotFound:
            since = legacytokens.date(self.handle.clock.time())
            metadata = {"name": _TRACKING, "namespace": _NAMESPACE}
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"since": since}}
            try:
                await admin.create("configmaps", made, _NAMESPACE)
            except AlreadyExists:
                return since
            return since
        said: str = (found.get("data") or {}).get("since", "")
        return said

    async def _look(self, since: float) -> None:
        now = self.handle.clock.time()
        if now < since + 86400 + _UNUSED:
            # Uses have not been noted for long enough, from the day after on.
            return
        border = legacytokens.date(now - _UNUSED)
        mounted: dict[str, set[str]] = {}
        for secret in self._secrets.list():
            if not legacytokens.is_token(secret) or meta.is_deleting(secret):
                continue
            if times.parse(secret["metadata"]["creationTimestamp"]) >= now - _UNUSED:
                continue
            used = meta.labels(secret).get(legacytokens.LAST_USED)
            if used is not None and (not _DAY.fullmatch(used) or used >= border):
                continue
            account = self._account(secret)
            if account is None or not legacytokens.is_referenced(account, meta.name(secret)):
                continue  # made by hand
            namespace = meta.namespace(secret)
            if namespace not in mounted:
                mounted[namespace] = {
                    name for pod in self._pods.list(namespace) for name in _secrets_in(pod["spec"])
                }
            if meta.name(secret) not in mounted[namespace]:
                await self._clear(secret, border, now)

    def _account(self, secret: Obj) -> Obj | None:
        namespace, name = legacytokens.account_key(secret)
        account = self._accounts.get(name, namespace) if name else None
        uid = meta.annotations(secret).get(legacytokens.ACCOUNT_UID, "")
        return account if account is not None and uid in ("", meta.uid(account)) else None

    async def _clear(self, secret: Obj, border: str, now: float) -> None:
        name, namespace = meta.name(secret), meta.namespace(secret)
        since = meta.labels(secret).get(legacytokens.INVALID_SINCE, "")
        try:
            if not _DAY.fullmatch(since):
                metadata = {
                    "uid": meta.uid(secret),
                    "labels": {legacytokens.INVALID_SINCE: legacytokens.date(now)},
                }
                await self._client.patch("secrets", name, {"metadata": metadata}, namespace)
            elif since < border:
                version = secret["metadata"]["resourceVersion"]
                await self._client.delete("secrets", name, namespace, resource_version=version)
        except (NotFound, Conflict):
            return
