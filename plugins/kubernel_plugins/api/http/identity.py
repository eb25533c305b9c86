"""Who asks and may they: authentication, impersonation, authorization."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kubernel.errors import BadRequest, Forbidden, Unauthorized, qualified_resource
from kubernel.registry.attributes import Attributes, Credentials
from kubernel.registry.request import UserInfo

if TYPE_CHECKING:
    from kubernel.plugin.manager import Hooks
    from kubernel.registry.attributes import Decision, Standing

    from .audit import Trail
    from .transport import Exchange, Headers

__all__ = ["Gate"]

_AUTHENTICATED = "system:authenticated"
_UNAUTHENTICATED = "system:unauthenticated"
_ANONYMOUS = "system:anonymous"
_EXTRA = "impersonate-extra-"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_USERS = 1024


class _CredentialHeaders(Mapping[str, str]):
    """The request's headers, and its path as ``:path``: some may be anonymous on some paths only."""

    __slots__ = ("headers", "path")

    def __init__(self, headers: Headers, path: str) -> None:
        self.headers = headers
        self.path = path

    def __getitem__(self, name: str) -> str:
        if name == ":path":
            return self.path
        value = self.headers.get(name, "\0")
        if value == "\0":
            raise KeyError(name)
        return value

    def getall(self, name: str) -> Sequence[str]:
        return self.headers.getall(name, ())

    def __iter__(self) -> Iterator[str]:
        yield ":path"
        for name in self.headers.keys():  # noqa: SIM118 - a multi-valued mapping
            yield name.lower()

    def __len__(self) -> int:
        return len(self.headers.keys()) + 1


class Gate:
    """Asks the auth plugins through the hooks."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._users: dict[UserInfo, UserInfo] = {}
        """Of certificates: one object for each user, however many connections show it."""

    def known(self, exchange: Exchange) -> UserInfo | None:
        """The user when the connection's certificate alone says who asks, and was asked about before."""
        user = exchange.connection.user
        if user is not None:
            for name in exchange.headers.keys():  # noqa: SIM118 - a multi-valued mapping
                if name[0] in "aAiI" and name.lower().startswith(("authorization", "impersonate-")):
                    return None
        return user

    def allows(self, attributes: Attributes) -> bool:
        return self._hooks.authorize(attributes).allowed

    def standing(self, attributes: Attributes) -> tuple[Decision, tuple[Standing, ...]] | None:
        """A permission and what it rests on, for who wants to remember it."""
        return self._hooks.standing(attributes)

    async def user(self, exchange: Exchange) -> UserInfo:
        """The (possibly impersonated) user. Unauthorized when nobody knows the credentials."""
        connection, headers = exchange.connection, exchange.headers
        authorization = headers.get("Authorization", "")
        user = connection.user
        if authorization or user is None:
            token = None
            if authorization:
                scheme, _, rest = authorization.partition(" ")
                if scheme.lower() == "bearer":
                    token = rest.strip() or None
            user = await self._authenticate(exchange, token)
            if not authorization and connection.certificate is not None:
                if len(self._users) >= _USERS:
                    self._users.clear()
                connection.user = user = self._users.setdefault(user, user)
        for name in headers.keys():  # noqa: SIM118 - a multi-valued mapping
            if name[0] in "iI" and name.lower().startswith("impersonate-"):
                exchange.original = user
                return await self._impersonate(user, headers)
        return user

    async def _authenticate(self, exchange: Exchange, token: str | None) -> UserInfo:
        shown = Credentials(
            exchange.connection.certificate, token, _CredentialHeaders(exchange.headers, exchange.path)
        )
        answer: Any = self._hooks.authenticate(shown)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is None:
            raise Unauthorized
        user: UserInfo = answer
        if user.name == _ANONYMOUS or _AUTHENTICATED in user.groups:
            return user
        return UserInfo(user.name, (*user.groups, _AUTHENTICATED), user.uid, user.extra)

    async def _impersonate(self, user: UserInfo, headers: Headers) -> UserInfo:
        """Source: k8s.io/apiserver/pkg/endpoints/filters/impersonation.go."""
        name = headers.get("Impersonate-User", "")
        groups = tuple(headers.getall("Impersonate-Group", ()))
        uid = headers.get("Impersonate-Uid", "")
        extra: dict[str, tuple[str, ...]] = {}
        for header in headers.keys():  # noqa: SIM118
            if header.lower().startswith(_EXTRA):
                extra[unquote(header[len(_EXTRA) :].lower())] = tuple(headers.getall(header, ()))
        if not name:
            raise BadRequest("requested impersonation of groups, uid or extra without impersonating a user")
        if name.startswith(_SERVICE_ACCOUNT) and name.count(":") == 3:
            _, _, namespace, account = name.split(":")
            await self.authorize(
                Attributes(user, "impersonate", "", "v1", "serviceaccounts", "", namespace, account)
            )
            if not groups:
                groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        else:
            await self.authorize(Attributes(user, "impersonate", "", "v1", "users", name=name))
        for group in groups:
            await self.authorize(Attributes(user, "impersonate", "", "v1", "groups", name=group))
        group_name = "authentication.k8s.io"
        if uid:
            await self.authorize(Attributes(user, "impersonate", group_name, "v1", "uids", name=uid))
        for key, values in extra.items():
            for value in values:
                await self.authorize(
                    Attributes(user, "impersonate", group_name, "v1", "userextras", key, name=value)
                )
        if name == _ANONYMOUS:
            if _UNAUTHENTICATED not in groups:
                groups = (*groups, _UNAUTHENTICATED)
        elif _AUTHENTICATED not in groups:
            groups = (*groups, _AUTHENTICATED)
        return UserInfo(name, groups, uid, extra)

    async def authorize(self, attributes: Attributes, trail: Trail | None = None) -> None:
        """Forbidden, in upstream's words, unless the auth plugins allow it."""
        decision = await self._hooks.decide(attributes)
        if trail is not None:
            trail.decided(decision)
        if not decision.allowed:
            raise forbidden(attributes, decision.reason)


def forbidden(attributes: Attributes, reason: str) -> Forbidden:
    """``pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "n"``."""
    who = f"User {json.dumps(attributes.user.name)} cannot {attributes.verb}"
    because = f": {reason}" if reason else ""
    if attributes.path:
        return Forbidden(f"forbidden: {who} path {json.dumps(attributes.path)}{because}")
    resource = attributes.resource
    if attributes.subresource:
        resource = f"{resource}/{attributes.subresource}"
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    named = qualified_resource(attributes.resource, attributes.group)
    subject = f'{named} "{attributes.name}"' if attributes.name else named
    return Forbidden(
        f'{subject} is forbidden: {who} resource "{resource}" in API group "{attributes.group}" {where}{because}',
        name=attributes.name,
        group=attributes.group,
        kind=attributes.resource,
    )
