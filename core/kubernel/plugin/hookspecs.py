"""Every hook. The docstring is the contract: when, how often, in which order, what is
returned, what an exception does."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.plugin.markers import hookspec

if TYPE_CHECKING:
    import argparse

    from kubernel.plugin.contract import CertificateAuthority, NodeStreams, NodeUsage
    from kubernel.plugin.scheduling import PolicyFactory
    from kubernel.registry.attributes import Attributes, Credentials, Decision
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import Request, UserInfo

__all__ = ["HookSpecs"]


class HookSpecs:
    @hookspec
    def kubernel_register_types(self, registry: Registry) -> None:
        """Register resource types: called once, after construction and before anything starts, in
        configuration order. A type registered twice is an error. An exception stops the start."""

    @hookspec
    def kubernel_admit(self, request: Request) -> Awaitable[None] | None:
        """Change or refuse a write. Called for each write and for connects, after defaulting, in
        configuration order, before ``kubernel_validate``. May change ``request.obj``. Refuse by raising
        an ApiError (usually ``Forbidden.for_object``); any other exception is a 500. An awaitable is
        awaited before the next plugin is called. Deletions come with ``request.obj`` None. A plugin that
        changed what others have looked at sets ``request.reinvoke``: then all are called once more, with
        ``request.reinvoking`` set. So what is called twice must do no more than once."""

    @hookspec
    def kubernel_validate(self, request: Request) -> Awaitable[None] | None:
        """Refuse a write whose object is final and valid. Called as ``kubernel_admit``, after it and
        after validation; may change nothing."""

    @hookspec(firstresult=True)
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | Awaitable[UserInfo | None] | None:
        """Who is this? Called for each request (and each new TLS connection's certificate) until one
        plugin answers. None: not mine. Raise Unauthorized for credentials that are mine and wrong.
        When nobody answers, the API server answers 401."""

    @hookspec
    def kubernel_authorize(self, attributes: Attributes) -> Decision | None:
        """May they? Called in configuration order until one plugin answers with an allowing or a final denying
        Decision. None is no opinion; a Decision that neither allows nor is final is no opinion with a
        reason. When nobody answers the request is forbidden and the reasons are joined. An exception
        counts as no opinion. Must be quick: it is on the path of every request; a Decision with a ``standing``
        is remembered by who asked until that is over."""

    @hookspec
    def kubernel_consult(self, attributes: Attributes) -> Awaitable[None] | None:
        """Find out what this plugin's ``kubernel_authorize`` will be asked next, if that has to be waited for.
        Called before it for requests from outside, when no plugin before has decided; those who cannot wait
        (expressions, components of this process) call ``kubernel_authorize`` alone. An exception counts as
        having found nothing."""

    @hookspec
    def kubernel_unlisted_rules(self, user: UserInfo) -> str | None:
        """Why the rules of a user's roles are not all that it may: this plugin allows by something else. Called for
        each review of a user's own rules, which is then told to be incomplete."""

    @hookspec
    def kubernel_audit(self, event: Mapping[str, Any]) -> Awaitable[None] | None:
        """Keep an audit event (audit.k8s.io/v1 Event, plain data that nobody changes any more). Called for each stage
        of each request that the audit policy does not leave out, on the path of the request: an awaitable holds
        it up until there is room. An exception is reported and loses the event for that plugin."""

    @hookspec(firstresult=True)
    def kubernel_certificate_authority(self) -> CertificateAuthority | None:
        """The cluster's certificate authority; asked after the auth plugins have started."""

    @hookspec
    def kubernel_client_authorities(self) -> bytes | None:
        """Certificates (PEM) of further authorities that client certificates may come from; asked once the auth plugins
        have started. Who knows users by certificates must look which authority issued one."""

    @hookspec(firstresult=True)
    def kubernel_node_streams(self, node: str) -> NodeStreams | None:
        """How to reach the containers of the named node; the first plugin that runs it answers. Called
        for each log, exec, attach, port-forward and proxy request."""

    @hookspec
    def kubernel_node_usage(self) -> Iterable[NodeUsage] | None:
        """What the nodes that this plugin runs consume just now, and their pods. Called at each sample (by default
        every 15 seconds) on the loop: must be quick. An exception leaves the plugin's nodes out of the sample."""

    @hookspec(firstresult=True)
    def kubernel_remote_api(self, path: str, user: UserInfo) -> Awaitable[tuple[int, bytes]] | None:
        """Read from an API that is not in the registry: the status and the body of a GET of ``path`` (with its
        query) as ``user``. Called for what other servers know, custom metrics for example; the first plugin that
        knows a server for the path answers. None: not mine. Raises OSError when the server cannot be reached. The
        caller has made sure that the user may."""

    @hookspec(firstresult=True)
    def kubernel_document(self, path: str) -> tuple[str, bytes] | None:
        """A public document at a fixed path that is no resource (``/openid/v1/jwks``): its content type
        and body. Called for each authorized GET of a path that the API server itself does not know."""

    @hookspec
    def kubernel_scheduler_policy(self) -> PolicyFactory | None:
        """How to make a scheduling policy. Asked once, when the scheduler has its first pod; policies are applied
        in configuration order unless a scheduler profile says otherwise. An exception stops the scheduler."""

    @hookspec
    def kubernel_metrics(self) -> str | None:
        """Metrics in the Prometheus text format, joined in /metrics by name. Called at each scrape."""

    @hookspec
    def kubernel_cli(self, commands: argparse._SubParsersAction[Any]) -> None:
        """Add subcommands: ``commands.add_parser(…)`` and ``set_defaults(run=callable)``; ``run(args) -> int``.
        Called once when the ``kubernel`` command starts, on plugins of role ``cli``, in configuration
        order. Must not import what only running a subcommand needs."""
