"""Jobs and CronJobs.

Source: pkg/apis/batch/{v1/defaults.go,validation} and pkg/registry/batch (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.strategies.templates import default_template
from kubernel_plugins.api.builtin.validation.cron_jobs import cron_job
from kubernel_plugins.api.builtin.validation.job_status import job_status_update
from kubernel_plugins.api.builtin.validation.jobs import job_create, job_update

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["CONTROLLER_UID", "JOB_NAME", "CronJobStrategy", "JobStrategy"]

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
_LEGACY_UID = "controller-uid"
_LEGACY_NAME = "job-name"
_MAX_INT32 = 2**31 - 1


def _default_patterns(spec: Obj) -> None:
    for rule in field(spec, "podFailurePolicy", "rules") or ():
        for pattern in (rule.get("onPodConditions") or ()) if isinstance(rule, dict) else ():
            if isinstance(pattern, dict) and not pattern.get("status"):
                pattern["status"] = "True"


class JobStrategy(Builtin):
    field_label_refusal = 'field label "{}" not supported for Job'
    propagation_warning = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
        "or set propagationPolicy=Orphan to suppress this warning"
    )

    def __init__(self) -> None:
        super().__init__(generation=True, propagation="Orphan", thorough=True)

    def default_spec(self, spec: Obj) -> None:
        default_template(spec.get("template"))
        if spec.get("completions") is None and spec.get("parallelism") is None:
            spec["completions"] = spec["parallelism"] = 1
        for key, value in (
            ("parallelism", 1),
            ("completionMode", "NonIndexed"),
            ("suspend", False),
            ("manualSelector", False),
        ):
            spec.setdefault(key, value)
        spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else _MAX_INT32)
        spec.setdefault(
            "podReplacementPolicy",
            "Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed",
        )
        _default_patterns(spec)

    def default(self, obj: Obj) -> None:
        # In Go both are one map, in which the generated labels come, too.
        labels = field(obj, "spec", "template", "metadata", "labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = labels

    def spec_apart(self) -> bool:
        return True

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        if not spec.get("manualSelector"):
            self._generate_selector(obj, spec)
        labels = field(spec, "template", "metadata", "labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    @staticmethod
    def _generate_selector(obj: Obj, spec: dict[str, Any]) -> None:
        """Label the template with the job's uid and select by it. What the client set of these labels
        is left for validation to complain about."""
        meta = obj["metadata"]
        template = spec.setdefault("template", {})
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        for key, value in (
            (_LEGACY_NAME, meta.get("name", "")),
            (JOB_NAME, meta.get("name", "")),
            (_LEGACY_UID, meta["uid"]),
            (CONTROLLER_UID, meta["uid"]),
        ):
            labels.setdefault(key, value)
        selector = spec.setdefault("selector", {})
        if CONTROLLER_UID not in (selector.get("matchLabels") or {}):
            selector.setdefault("matchLabels", {})[CONTROLLER_UID] = meta["uid"]

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return job_create(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return job_status_update(obj, old) if request.subresource == "status" else job_update(obj, old)


class CronJobStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def default_spec(self, spec: Obj) -> None:
        default_template(field(spec, "jobTemplate", "spec", "template"))
        _default_patterns(field(spec, "jobTemplate", "spec") or {})

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return cron_job(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [] if request.subresource == "status" else cron_job(obj, old)
