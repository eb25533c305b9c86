"""Jobs and CronJobs.

Source: pkg/apis/batch/{v1/defaults.go,validation} and pkg/registry/batch (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.objects import selectors
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.strategies.job_policies import validate_indexes, validate_policies
from kubernel_plugins.api.builtin.strategies.templates import (
    default_template,
    not_negative,
    validate_template,
)

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["CONTROLLER_UID", "JOB_NAME", "CronJobStrategy", "JobStrategy"]

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
_LEGACY_UID = "controller-uid"
_LEGACY_NAME = "job-name"
_RESTART = ("OnFailure", "Never")
_COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_MAX_INT32 = 2**31 - 1
_NAME_LIMIT = 52


def _validate_job_spec(spec: Obj, path: str) -> list[Cause]:
    found = not_negative(spec, path, *_COUNTS)
    template = spec.get("template") or {}
    found += validate_template(template, f"{path}.template", restart=_RESTART)
    found += validate_indexes(spec, path) + validate_policies(spec, path)
    if spec.get("podFailurePolicy") and field(template, "spec", "restartPolicy") != "Never":
        found.append(
            causes.invalid(
                f"{path}.template.spec.restartPolicy",
                field(template, "spec", "restartPolicy"),
                'only "Never" is supported when podFailurePolicy is specified',
            )
        )
    return found


class JobStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, propagation="Orphan")

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
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
            "podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
        )
        for rule in field(spec, "podFailurePolicy", "rules") or ():
            for pattern in (rule.get("onPodConditions") or ()) if isinstance(rule, dict) else ():
                if isinstance(pattern, dict):
                    pattern.setdefault("status", "True")
        labels = field(spec, "template", "metadata", "labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = {
                key: value
                for key, value in labels.items()
                if key not in (CONTROLLER_UID, JOB_NAME, _LEGACY_UID, _LEGACY_NAME)
            } or dict(labels)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        spec = obj.get("spec")
        if isinstance(spec, dict) and not spec.get("manualSelector"):
            self._generate_selector(obj, spec)

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
        spec = obj.get("spec") or {}
        found = _validate_job_spec(spec, "spec")
        selector = spec.get("selector")
        labels = field(spec, "template", "metadata", "labels") or {}
        if selector is None:
            found.append(causes.required("spec.selector"))
        elif not selectors.from_object(selector).matches(labels):
            found.append(
                causes.invalid(
                    "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
                )
            )
        if not spec.get("manualSelector"):
            found += self._generated_problems(obj, labels, selector or {})
        return found

    @staticmethod
    def _generated_problems(obj: Obj, labels: dict[str, str], selector: Obj) -> list[Cause]:
        found = []
        uid, name = obj["metadata"].get("uid"), obj["metadata"].get("name")
        for key, wanted in (
            (_LEGACY_UID, uid),
            (CONTROLLER_UID, uid),
            (_LEGACY_NAME, name),
            (JOB_NAME, name),
        ):
            if key in labels and labels[key] != wanted:
                found.append(causes.invalid("spec.template.metadata.labels", labels, f"must be '{wanted}'"))
        if (selector.get("matchLabels") or {}).get(CONTROLLER_UID) != uid:
            found.append(causes.invalid("spec.selector", selector, "`selector` not auto-generated"))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return []
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        found = not_negative(spec, "spec", *_COUNTS)
        found += self._completions(spec, before)
        for key in (
            "selector",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ):
            if spec.get(key) != before.get(key):
                found.append(causes.invalid(f"spec.{key}", spec.get(key), causes.FIELD_IMMUTABLE))
        if self._fixed_template(spec, obj, old) != self._fixed_template(before, obj, old):
            found.append(causes.invalid("spec.template", spec.get("template"), causes.FIELD_IMMUTABLE))
        return found

    @staticmethod
    def _completions(spec: Obj, before: Obj) -> list[Cause]:
        if spec.get("completions") == before.get("completions"):
            return []
        if before.get("completionMode") != "Indexed" or spec.get("completions") is None:
            return [causes.invalid("spec.completions", spec.get("completions"), causes.FIELD_IMMUTABLE)]
        if spec.get("completions") != spec.get("parallelism"):
            return [
                causes.invalid(
                    "spec.completions",
                    spec.get("completions"),
                    "can only be modified in tandem with spec.parallelism",
                )
            ]
        return []

    @staticmethod
    def _fixed_template(spec: Obj, obj: Obj, old: Obj) -> Any:
        """The part of the template that may not change: before a suspended job started, its scheduling
        directives may (KEP-2926)."""
        template = spec.get("template") or {}
        if not field(old, "spec", "suspend") or field(old, "status", "startTime"):
            return template
        pod = {
            key: value
            for key, value in (template.get("spec") or {}).items()
            if key not in ("nodeSelector", "affinity", "tolerations", "schedulingGates")
        }
        meta = {
            key: value
            for key, value in (template.get("metadata") or {}).items()
            if key not in ("labels", "annotations")
        }
        return {**template, "spec": pod, "metadata": meta}


class CronJobStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True)

    def default(self, obj: Obj) -> None:
        default_template(field(obj, "spec", "jobTemplate", "spec", "template"))

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = self.validate_update(request, obj, obj)
        name = obj["metadata"].get("name") or ""
        if len(name) > _NAME_LIMIT:
            # Jobs get eleven more characters.
            found.append(causes.invalid("metadata.name", name, "must be no more than 52 characters"))
        if field(spec, "jobTemplate", "spec", "manualSelector"):
            found.append(causes.not_supported("spec.jobTemplate.spec.manualSelector", True, ["nil", "false"]))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return []
        spec = obj.get("spec") or {}
        found = self._schedule(spec.get("schedule") or "") + self._time_zone(spec.get("timeZone"))
        found += not_negative(
            spec,
            "spec",
            "startingDeadlineSeconds",
            "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit",
        )
        found += _validate_job_spec(field(spec, "jobTemplate", "spec") or {}, "spec.jobTemplate.spec")
        return found

    @staticmethod
    def _schedule(schedule: str) -> list[Cause]:
        if not schedule:
            return [causes.required("spec.schedule")]
        if "TZ" in schedule:
            detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            return [causes.invalid("spec.schedule", schedule, detail)]
        from kubernel_plugins import cron  # time zones are not for start-up

        try:
            cron.parse(schedule)
        except ValueError as error:
            return [causes.invalid("spec.schedule", schedule, str(error))]
        return []

    @staticmethod
    def _time_zone(name: str | None) -> list[Cause]:
        if name is None:
            return []
        from kubernel_plugins import cron

        problem = ""
        if not name:
            problem = "timeZone must not be empty string"
        elif name.lower() == "local":
            problem = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        else:
            try:
                cron.zone(name)
            except ValueError as error:
                problem = str(error)
        return [causes.invalid("spec.timeZone", name, problem)] if problem else []
