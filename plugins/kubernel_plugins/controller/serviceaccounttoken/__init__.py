"""Service account token controller: fills the Secrets that ask for a token, and removes those of nobody.

Source: k8s.io/kubernetes/pkg/controller/serviceaccount/tokens_controller.go (v1.37).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import Conflict, NotFound
from kubernel.objects import meta
from kubernel_plugins import legacytokens
from kubernel_plugins.tokenkeys import SigningKey

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_ACCOUNTS = "serviceaccounts"
_INDEX = "account"


def _account_of(secret: Obj) -> Iterable[str]:
    return ("/".join(legacytokens.account_key(secret)),) if legacytokens.is_token(secret) else ()


def _of_account(self: Plugin, type: EventType, account: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Its tokens, when it came or went."""
    if not self.ready or (type == "MODIFIED" and old is not None):
        return ()
    return [meta.key(secret) for secret in self.primary.by(_INDEX, "/".join(meta.key(account)))]


class Plugin(Reconciler):
    """The ``serviceaccounttoken`` controller. Keys are secrets, those that are gone too."""

    resource = "secrets"
    watches = {_ACCOUNTS: _of_account}  # noqa: RUF012 - typed in the base

    async def start(self) -> None:
        self.ready = False
        self._gone: dict[ObjectKey, Obj] = {}
        self._key: SigningKey | None = None
        await super().start()
        self.primary.add_index(_INDEX, _account_of)
        self.ready = True

    async def setup(self) -> None:
        authority = self.handle.hooks.certificate_authority()
        self._ca = b"" if authority is None else authority.ca_certificate
        # Without it nobody would know the tokens.
        self._signs = any((one.role, one.name) == ("auth", "serviceaccount") for one in self.handle.plugins())

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if not legacytokens.is_token(obj):
            return
        if type == "DELETED":
            self._gone[meta.key(obj)] = obj
        super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> None:
        gone = self._gone.pop((namespace, name), None)
        secret = self.primary.get(name, namespace)
        if secret is None:
            if gone is not None:
                await self._unreference(gone)
            return
        if not legacytokens.is_token(secret):
            return
        account = await self._account(secret)
        if account is None:
            try:
                await self.client.delete(self.resource, name, namespace, uid=meta.uid(secret))
            except (NotFound, Conflict):
                return
        else:
            await self._fill(secret, account)

    async def _account(self, secret: Obj) -> Obj | None:
        """The very account that the secret is of. Asked of the server: the secret may have been seen first."""
        namespace, name = legacytokens.account_key(secret)
        if not name:
            return None
        try:
            account = await self.client.get(_ACCOUNTS, name, namespace)
        except NotFound:
            return None
        uid = meta.annotations(secret).get(legacytokens.ACCOUNT_UID, "")
        return account if uid in ("", meta.uid(account)) else None

    async def _fill(self, secret: Obj, account: Obj) -> None:
        wanted: dict[str, bytes] = {}
        if self._ca and legacytokens.value(secret, "ca.crt") != self._ca:
            wanted["ca.crt"] = self._ca
        if not legacytokens.value(secret, "namespace"):
            wanted["namespace"] = meta.namespace(secret).encode()
        if not legacytokens.value(secret, "token") and self._signs:
            wanted["token"] = self._signing_key().sign(legacytokens.claims(account, secret)).encode()
        if not wanted:
            return
        encoded = {key: base64.b64encode(value).decode() for key, value in wanted.items()}
        annotations = {
            **meta.annotations(secret),
            legacytokens.ACCOUNT_NAME: meta.name(account),
            legacytokens.ACCOUNT_UID: meta.uid(account),
        }
        changed: dict[str, Any] = meta.replace(secret, ("metadata", "annotations"), annotations)
        changed["data"] = {**(secret.get("data") or {}), **encoded}
        await self.client.update(self.resource, changed)

    def _signing_key(self) -> SigningKey:
        """The one that ``auth/serviceaccount`` knows its tokens by."""
        if self._key is None:
            self._key = SigningKey.open(self.handle.data_dir / "pki")
        return self._key

    async def _unreference(self, secret: Obj) -> None:
        account = await self._account(secret)
        if account is None or not legacytokens.is_referenced(account, meta.name(secret)):
            return
        left = [entry for entry in account["secrets"] if entry.get("name") != meta.name(secret)]
        await self.client.update(_ACCOUNTS, {**account, "secrets": left})
