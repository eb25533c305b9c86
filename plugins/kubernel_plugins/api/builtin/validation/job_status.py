"""A finished job's status adds up, and what was counted stays counted (KEP-4368).

Source: pkg/apis/batch/validation (v1.37).
"""

from __future__ import annotations

from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.job_indexes import count_indexes, overlap
from kubernel_plugins.api.builtin.validation.values import Found, Obj, not_negative

__all__ = ["is_true", "job_status_update"]


def _omitted(path: str, detail: str, found: Found) -> None:
    """An invalid value that is not shown."""
    found.append(causes.without_value(path, detail))


def is_true(job: Obj, type: str) -> bool:
    return any(
        one.get("type") == type and one.get("status") == "True"
        for one in (job.get("status") or {}).get("conditions") or ()
    )


def _finished(job: Obj) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def job_status_update(job: Obj, old: Obj) -> Found:
    """A finished job's status adds up, and what was counted stays so (KEP-4368)."""
    found: Found = []
    status, before, spec = job.get("status") or {}, old.get("status") or {}, job["spec"]
    not_negative(status, "status", found, "active", "succeeded", "failed", "ready", "terminating")
    _uncounted(status.get("uncountedTerminatedPods") or {}, found)

    def changed(*keys: str) -> bool:
        return any(status.get(key) != before.get(key) for key in keys)

    def turned(type: str) -> bool:
        return is_true(job, type) != is_true(old, type)

    complete, failed = is_true(job, "Complete"), is_true(job, "Failed")
    target, met = is_true(job, "FailureTarget"), is_true(job, "SuccessCriteriaMet")
    finished, finishing = _finished(job), _finished(job) != _finished(old)
    where = "status.conditions"
    if (turned("Complete") or turned("Failed")) and complete and failed:
        _omitted(where, "cannot set Complete=True and Failed=true conditions", found)
    if (turned("Complete") or turned("FailureTarget")) and complete and target:
        _omitted(where, "cannot set Complete=True and FailureTarget=true conditions", found)
    start, end = status.get("startTime"), status.get("completionTime")
    if turned("Complete") or changed("completionTime"):
        if end is not None and not complete:
            told = "cannot set completionTime when there is no Complete=True condition"
            found.append(causes.invalid("status.completionTime", end, told))
        if end is None and complete:
            told = "completionTime is required for Complete jobs"
            found.append(causes.required("status.completionTime", told))
    if changed("startTime", "completionTime") and start and end and end < start:
        found.append(causes.invalid("status.completionTime", end, "must be equal to or after `startTime`"))
    if (turned("Failed") or changed("failedIndexes")) and failed and not target:
        _omitted(where, "cannot set Failed=True condition without the FailureTarget=true condition", found)
    if (turned("Complete") or turned("SuccessCriteriaMet")) and complete and not met:
        told = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        _omitted(where, told, found)
    active = status.get("active") or 0
    if (finishing or changed("active")) and active > 0 and finished:
        found.append(causes.invalid("status.active", active, "active>0 is invalid for finished job"))
    idle = spec.get("suspend") is True and spec.get("completions") == 0
    if (finishing or changed("startTime")) and not idle and start is None and finished:
        found.append(causes.required("status.startTime", "startTime is required for finished job"))
    pods = status.get("uncountedTerminatedPods") or {}
    if (
        (finishing or changed("uncountedTerminatedPods"))
        and finished
        and (pods.get("failed") or pods.get("succeeded"))
    ):
        shown = go_value("batch.UncountedTerminatedPods", pods)
        told = "must be empty for finished job"
        found.append(causes.invalid("status.uncountedTerminatedPods", shown, told))
    _status_indexes(spec, status, changed("completedIndexes"), changed("failedIndexes"), found)
    terminating, ready = status.get("terminating") or 0, status.get("ready") or 0
    if (finishing or changed("terminating")) and terminating > 0 and finished:
        told = "terminating>0 is invalid for finished job"
        found.append(causes.invalid("status.terminating", terminating, told))
    if changed("ready", "active") and ready > active:
        found.append(causes.invalid("status.ready", ready, "cannot set more ready pods than active"))
    if met and failed:
        _omitted(where, "cannot set SuccessCriteriaMet=True and Failed=true conditions", found)
    if met and target:
        _omitted(where, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", found)
    if spec.get("successPolicy") is not None and complete and not met:
        told = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        _omitted(where, told, found)
    _nothing_undone(job, old, found)
    return found


def _uncounted(pods: Obj, found: Found) -> None:
    taken: set[str] = set()
    for kind in ("succeeded", "failed"):
        for index, uid in enumerate(pods.get(kind) or ()):
            where = f"status.uncountedTerminatedPods.{kind}[{index}]"
            if not uid:
                found.append(causes.invalid(where, uid, "must not be empty"))
            elif uid in taken:
                found.append(causes.duplicate(where, uid))
            taken.add(uid)


def _status_indexes(
    spec: Obj, status: Obj, completed_changed: bool, failed_changed: bool, found: Found
) -> None:
    completions, per_index = spec.get("completions"), spec.get("backoffLimitPerIndex")
    completed, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    for key, text, wanted in (
        ("completedIndexes", completed, completed_changed),
        ("failedIndexes", failed, failed_changed and per_index is not None and failed is not None),
    ):
        if not wanted or completions is None:
            continue
        try:
            count_indexes(text or "", completions)
        except ValueError as error:
            found.append(causes.invalid(f"status.{key}", text, f"error parsing {key}: {error}"))
    if completed_changed and completed and spec.get("completionMode") != "Indexed":
        told = "cannot set non-empty completedIndexes when non-indexed completion mode"
        found.append(causes.invalid("status.completedIndexes", completed, told))
    if failed_changed and per_index is None and failed is not None:
        told = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        found.append(causes.invalid("status.failedIndexes", failed, told))
    if (failed_changed or completed_changed) and completions is not None and failed is not None:
        shared = overlap(completed, failed, completions)
        if shared is not None:
            told = f"failedIndexes and completedIndexes overlap at index: {shared}"
            found.append(causes.invalid("status.failedIndexes", failed, told))


def _nothing_undone(job: Obj, old: Obj, found: Found) -> None:
    status, before, spec = job.get("status") or {}, old.get("status") or {}, job["spec"]
    where = "status.conditions"
    for type in ("Failed", "Complete", "FailureTarget"):
        if is_true(old, type) and not is_true(job, type):
            _omitted(where, f"cannot disable the terminal {type}=True condition", found)
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for key, wanted in (("failed", True), ("succeeded", not elastic)):
        if wanted and (status.get(key) or 0) < (before.get(key) or 0):
            told = f"cannot decrease the {key} counter"
            found.append(causes.invalid(f"status.{key}", status.get(key) or 0, told))
    end, ended = status.get("completionTime"), before.get("completionTime")
    if end is not None and ended is not None and end != ended:
        found.append(causes.invalid("status.completionTime", end, causes.FIELD_IMMUTABLE))
    start, started = status.get("startTime"), before.get("startTime")
    resuming = is_true(old, "Suspended") and any(
        one.get("type") == "Suspended" and one.get("status") == "False"
        for one in status.get("conditions") or ()
    )
    if start != started and not resuming and started is not None and not spec.get("suspend"):
        told = "field is immutable for unsuspended job once set"
        found.append(causes.invalid("status.startTime", start, told))
    if is_true(old, "SuccessCriteriaMet") and not is_true(job, "SuccessCriteriaMet"):
        _omitted(where, "cannot disable the SuccessCriteriaMet=True condition", found)
    if (
        is_true(old, "Complete")
        and not is_true(old, "SuccessCriteriaMet")
        and is_true(job, "SuccessCriteriaMet")
    ):
        told = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        _omitted(where, told, found)
