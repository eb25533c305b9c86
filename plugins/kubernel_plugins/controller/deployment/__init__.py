"""Deployment controller: rolls pod templates out through ReplicaSets.

Source: k8s.io/kubernetes/pkg/controller/deployment (v1.37). ``sets`` is its arithmetic, ``progress``
its status.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists, ApiError, NotFound
from kubernel.objects import conditions, meta, names
from kubernel.objects.selectors import from_object
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.deployment import progress, sets
from kubernel_plugins.controller.ownership import Claims, index_orphans, namespace_is_terminating

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_SETS = "replicasets.v1.apps"


def _deployment_of_orphan(self: Plugin, type: EventType, rs: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Deployments that might adopt a ReplicaSet nobody controls."""
    if type == "DELETED" or meta.controller_of(rs) is not None or not meta.labels(rs):
        return ()
    return [
        meta.key(deployment)
        for deployment in self.primary.list(meta.namespace(rs))
        if from_object(deployment["spec"].get("selector") or {}).matches(meta.labels(rs))
    ]


def _recreating_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """A Recreate Deployment waits for its last old pod to end."""
    controller = meta.controller_of(pod)
    if controller is None or not (type == "DELETED" or pods.is_finished(pod)):
        return ()
    rs = self.informer(_SETS).get(controller["name"], meta.namespace(pod))
    owner = meta.controller_of(rs) if rs is not None and meta.uid(rs) == controller["uid"] else None
    deployment = self.primary.get(owner["name"], meta.namespace(pod)) if owner else None
    if deployment is None or sets.rolling(deployment):
        return ()
    return (meta.key(deployment),)


class Plugin(Reconciler):
    """The ``deployment`` controller."""

    resource = "deployments.v1.apps"
    owns = (_SETS,)
    watches = {_SETS: _deployment_of_orphan, "pods": _recreating_of_pod}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:deployment-controller"

    async def start(self) -> None:
        await super().start()
        self._sets = self.informer(_SETS)
        index_orphans(self._sets)
        self._claims = Claims(self.client, self.resource, _SETS, self._sets)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        deployment = self.primary.get(name, namespace)
        if deployment is None:
            return None
        selector = from_object(deployment["spec"].get("selector") or {})
        if selector.everything:
            text = "This deployment is selecting all pods. A non-empty selector is required."
            await self.recorder.event(deployment, "Warning", "SelectingAll", text)
            return None
        every = await self._claims.of(deployment, selector)
        if meta.is_deleting(deployment):
            new = sets.find_new(deployment, every)
            return await self._sync_status(deployment, every, new, judge=False)
        deployment = await self._note_pause(deployment)
        paused = bool(deployment["spec"].get("paused"))
        if paused or self._was_scaled(deployment, every):
            new = sets.find_new(deployment, every)
            if new is not None:
                deployment, new = await self._refresh_new(deployment, every, new)
            old = [rs for rs in every if new is None or meta.uid(rs) != meta.uid(new)]
            every = await self._scale_all(deployment, new, old)
            new = sets.find_new(deployment, every)
            if paused:
                await self._clean_up(
                    deployment, [rs for rs in every if new is None or meta.uid(rs) != meta.uid(new)]
                )
            return await self._sync_status(deployment, every, new, judge=False)
        if sets.rolling(deployment):
            return await self._roll(deployment, every)
        return await self._recreate(deployment, every)

    # --- strategies

    async def _roll(self, deployment: Obj, every: Sequence[Obj]) -> float | None:
        deployment, new = await self._ensure_new(deployment, every)
        if new is None:
            return None
        old = [rs for rs in every if meta.uid(rs) != meta.uid(new)]
        size = sets.replicas(new)
        wanted = sets.replicas(deployment)
        if size != wanted:
            target = wanted if size > wanted else sets.new_size(deployment, [*old, new], new)
            new = await self._resize(deployment, new, target)
        if sets.replicas(new) == size:
            old = await self._shrink_old(deployment, new, old)
        return await self._finish(deployment, new, old)

    async def _recreate(self, deployment: Obj, every: Sequence[Obj]) -> float | None:
        new = sets.find_new(deployment, every)
        old = [rs for rs in every if new is None or meta.uid(rs) != meta.uid(new)]
        having = sets.active(old)
        if having:
            for rs in having:
                await self._resize(deployment, rs, 0)
            return await self._sync_status(deployment, every, new)
        if any(
            not pods.is_finished(pod) for rs in old for pod in self.informer("pods").by("owner", meta.uid(rs))
        ):
            return await self._sync_status(deployment, every, new)
        deployment, new = await self._ensure_new(deployment, every)
        if new is None:
            return None
        new = await self._resize(deployment, new, sets.replicas(deployment))
        return await self._finish(deployment, new, old)

    async def _finish(self, deployment: Obj, new: Obj, old: Sequence[Obj]) -> float | None:
        if progress.complete(deployment, deployment.get("status") or {}):
            await self._clean_up(deployment, old)
        return await self._sync_status(deployment, [*old, new], new)

    async def _shrink_old(self, deployment: Obj, new: Obj, old: Sequence[Obj]) -> list[Obj]:
        """Scale old ReplicaSets down as far as availability allows, the unhealthy pods first. Where a status is older
        than a size, it may count pods that are gone, so nothing is given up before it was written anew."""
        having = sorted(sets.active(old), key=sets.age)
        rest = [rs for rs in old if sets.replicas(rs) == 0]
        if not having or not all(map(sets.is_seen, [*having, new])):
            return list(old)
        least = sets.replicas(deployment) - sets.max_unavailable(deployment)
        missing = sets.replicas(new) - sets.available([new])
        room = sets.total([*having, new]) - least - missing
        if room <= 0:
            return list(old)
        cleaned: list[Obj] = []
        for rs in having:
            down = min(room, sets.replicas(rs) - sets.available([rs]))
            room -= down
            cleaned.append(await self._resize(deployment, rs, sets.replicas(rs) - down) if down else rs)
        spare = sets.available([*cleaned, new]) - least
        shrunk: list[Obj] = []
        for rs in cleaned:
            down = min(sets.replicas(rs), max(spare, 0))
            spare -= down
            shrunk.append(await self._resize(deployment, rs, sets.replicas(rs) - down) if down else rs)
        return [*rest, *shrunk]

    # --- the new ReplicaSet

    async def _ensure_new(self, deployment: Obj, every: Sequence[Obj]) -> tuple[Obj, Obj | None]:
        """The ReplicaSet of the current template, made when it is not there; None: try again later."""
        new = sets.find_new(deployment, every)
        if new is not None:
            return await self._refresh_new(deployment, every, new)
        return await self._create_new(deployment, every)

    async def _refresh_new(self, deployment: Obj, every: Sequence[Obj], new: Obj) -> tuple[Obj, Obj]:
        others = [rs for rs in every if meta.uid(rs) != meta.uid(new)]
        wanted = max((sets.revision(rs) for rs in others), default=0) + 1
        annotations = sets.with_revision(
            {**meta.annotations(new), **sets.copied_annotations(deployment)}, wanted
        )
        min_ready = deployment["spec"].get("minReadySeconds", 0)
        if annotations != meta.annotations(new) or new["spec"].get("minReadySeconds", 0) != min_ready:
            changed = meta.replace(new, ("metadata", "annotations"), annotations)
            changed = meta.replace(changed, ("spec", "minReadySeconds"), min_ready)
            new = await self.client.update(_SETS, changed)
        status = dict(deployment.get("status") or {})
        if progress.has_deadline(deployment) and conditions.find(deployment, "Progressing") is None:
            text = f'Found new replica set "{meta.name(new)}"'
            progress.set_condition(
                status, "Progressing", "True", "FoundNewReplicaSet", text, self.clock.time()
            )
        return await self._record_revision(deployment, new, status), new

    async def _create_new(self, deployment: Obj, every: Sequence[Obj]) -> tuple[Obj, Obj | None]:
        spec = deployment["spec"]
        status = dict(deployment.get("status") or {})
        digest = names.pod_hash(spec["template"], status.get("collisionCount"))
        template = meta.replace(spec["template"], ("metadata", "labels", sets.HASH_LABEL), digest)
        annotations = sets.with_revision(
            {**sets.copied_annotations(deployment), **sets.size_annotations(deployment)},
            max((sets.revision(rs) for rs in every), default=0) + 1,
        )
        rs: Obj = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta.name(deployment)}-{digest}",
                "namespace": meta.namespace(deployment),
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [meta.owner_reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "minReadySeconds": spec.get("minReadySeconds", 0),
                "selector": meta.replace(spec["selector"], ("matchLabels", sets.HASH_LABEL), digest),
                "template": template,
            },
        }
        size = sets.new_size(deployment, every, rs)
        rs["spec"]["replicas"] = size
        try:
            new = await self.client.create(_SETS, rs, meta.namespace(deployment))
        except AlreadyExists:
            return await self._collided(deployment, rs)
        except ApiError as error:
            if namespace_is_terminating(error):
                return deployment, None
            text = f'Failed to create new replica set "{rs["metadata"]["name"]}": {error.message}'
            if progress.has_deadline(deployment):
                progress.set_condition(
                    status, "Progressing", "False", "ReplicaSetCreateError", text, self.clock.time()
                )
                await self._put_status(deployment, status)
            await self.recorder.event(deployment, "Warning", "ReplicaSetCreateError", text)
            raise
        if size > 0:
            text = f"Scaled up replica set {meta.name(new)} from 0 to {size}"
            await self.recorder.event(deployment, "Normal", "ScalingReplicaSet", text)
        if progress.has_deadline(deployment):
            text = f'Created new replica set "{meta.name(new)}"'
            progress.set_condition(
                status, "Progressing", "True", "NewReplicaSetCreated", text, self.clock.time()
            )
        return await self._record_revision(deployment, new, status), new

    async def _collided(self, deployment: Obj, wanted: Obj) -> tuple[Obj, Obj | None]:
        """A ReplicaSet of that name is there: ours (the informer is late), or another template with the
        same hash, to be told apart by the collision count."""
        found = await self.client.get(_SETS, meta.name(wanted), meta.namespace(wanted))
        controller = meta.controller_of(found)
        ours = controller is not None and controller["uid"] == meta.uid(deployment)
        if ours and sets.same_template(found["spec"]["template"], wanted["spec"]["template"]):
            return deployment, found
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = status.get("collisionCount", 0) + 1
        await self._put_status(deployment, status)
        return deployment, None

    async def _record_revision(self, deployment: Obj, new: Obj, status: dict[str, Any]) -> Obj:
        """Through ``/status``, so that the generation stays."""
        revision = meta.annotations(new).get(sets.REVISION, "")
        changed = deployment
        if revision and meta.annotations(deployment).get(sets.REVISION) != revision:
            changed = meta.replace(deployment, ("metadata", "annotations", sets.REVISION), revision)
        if changed is deployment and status == (deployment.get("status") or {}):
            return deployment
        return await self._put_status(changed, status)

    async def _put_status(self, deployment: Obj, status: dict[str, Any]) -> Obj:
        return await self.client.update(self.resource, {**deployment, "status": status}, subresource="status")

    # --- sizes

    def _was_scaled(self, deployment: Obj, every: Sequence[Obj]) -> bool:
        wanted = str(sets.replicas(deployment))
        return any(meta.annotations(rs).get(sets.DESIRED, wanted) != wanted for rs in sets.active(every))

    async def _scale_all(self, deployment: Obj, new: Obj | None, old: Sequence[Obj]) -> list[Obj]:
        """Follow a change of ``replicas``: one ReplicaSet alone takes it all, several share it."""
        wanted = sets.replicas(deployment)
        every = [*old, *([new] if new else [])]
        only = sets.active_or_latest(new, old)
        if only is not None:
            if sets.replicas(only) != wanted or self._annotations_differ(deployment, only):
                resized = await self._resize(deployment, only, wanted)
                return [resized if rs is only else rs for rs in every]
            return every
        if sets.saturated(deployment, new):
            return [
                await self._resize(deployment, rs, 0) if rs is not new and sets.replicas(rs) else rs
                for rs in every
            ]
        if not sets.rolling(deployment):
            return every
        having = sets.active(every)
        allowed = wanted + sets.max_surge(deployment) if wanted > 0 else 0
        to_add = allowed - sets.total(having)
        # Stable sorts: by size, ties broken by age (newest first when growing, oldest when shrinking).
        having.sort(key=sets.age, reverse=to_add > 0)
        having.sort(key=sets.replicas, reverse=True)
        added = 0
        sizes: dict[str, int] = {}
        for rs in having:
            share = sets.proportion(rs, deployment, to_add, added)
            sizes[meta.uid(rs)] = sets.replicas(rs) + share
            added += share
        if having and to_add:
            first = meta.uid(having[0])
            sizes[first] = max(sizes[first] + to_add - added, 0)
        return [
            await self._resize(deployment, rs, sizes[meta.uid(rs)]) if meta.uid(rs) in sizes else rs
            for rs in every
        ]

    @staticmethod
    def _annotations_differ(deployment: Obj, rs: Obj) -> bool:
        have = meta.annotations(rs)
        return any(have.get(key) != value for key, value in sets.size_annotations(deployment).items())

    async def _resize(self, deployment: Obj, rs: Obj, size: int) -> Obj:
        before = sets.replicas(rs)
        if before == size and not self._annotations_differ(deployment, rs):
            return rs
        annotations = {**meta.annotations(rs), **sets.size_annotations(deployment)}
        changed = meta.replace(rs, ("metadata", "annotations"), annotations)
        updated = await self.client.update(_SETS, meta.replace(changed, ("spec", "replicas"), size))
        if before != size:
            way = "up" if size > before else "down"
            text = f"Scaled {way} replica set {meta.name(rs)} from {before} to {size}"
            await self.recorder.event(deployment, "Normal", "ScalingReplicaSet", text)
        return updated

    # --- the rest

    async def _note_pause(self, deployment: Obj) -> Obj:
        """Pausing stops the progress deadline, resuming starts it anew."""
        if not progress.has_deadline(deployment):
            return deployment
        current = conditions.find(deployment, "Progressing")
        if current is not None and current.get("reason") == "ProgressDeadlineExceeded":
            return deployment
        noted = current is not None and current.get("reason") == "DeploymentPaused"
        paused = bool(deployment["spec"].get("paused"))
        if paused == noted:
            return deployment
        reason, text = (
            ("DeploymentPaused", "Deployment is paused")
            if paused
            else ("DeploymentResumed", "Deployment is resumed")
        )
        status = dict(deployment.get("status") or {})
        progress.set_condition(status, "Progressing", "Unknown", reason, text, self.clock.time())
        return await self._put_status(deployment, status)

    async def _clean_up(self, deployment: Obj, old: Sequence[Obj]) -> None:
        """Delete the oldest empty ReplicaSets beyond the revision history limit."""
        limit = deployment["spec"].get("revisionHistoryLimit")
        if limit is None:
            return
        alive = sorted((rs for rs in old if not meta.is_deleting(rs)), key=sets.revision)
        for rs in alive[: max(len(alive) - limit, 0)]:
            if sets.total_status([rs], "replicas") or sets.replicas(rs) or not sets.is_seen(rs):
                continue
            try:
                await self.client.delete(_SETS, meta.name(rs), meta.namespace(rs), uid=meta.uid(rs))
            except NotFound:
                continue

    async def _sync_status(
        self, deployment: Obj, every: Sequence[Obj], new: Obj | None, *, judge: bool = True
    ) -> float | None:
        now = self.clock.time()
        status = progress.compute_status(deployment, every, new, now)
        if judge:
            progress.set_progressing(deployment, status, every, new, now)
        if status != (deployment.get("status") or {}):
            await self._put_status(deployment, status)
        return progress.recheck_after(deployment, status, now) if judge else None
