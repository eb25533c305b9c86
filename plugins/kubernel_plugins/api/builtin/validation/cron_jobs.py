"""CronJobs.

Source: pkg/apis/batch/validation (v1.37).
"""

from __future__ import annotations

import re

from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.jobs import job_spec
from kubernel_plugins.api.builtin.validation.pod_updates import lenient_as
from kubernel_plugins.api.builtin.validation.values import Found, Obj, not_negative, selector_value

__all__ = ["cron_job"]

_CRON_NAME = 52
_zone_part = re.compile(r"[A-Za-z\.\-_0-9+]{1,14}")


def cron_job(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj["spec"]
    before: Obj = old["spec"] if old is not None else {}
    _schedule(spec, before, found)
    not_negative(spec, "spec", found, "startingDeadlineSeconds")
    if old is None or spec.get("timeZone") != before.get("timeZone"):
        _time_zone(spec.get("timeZone"), found)
    policy = spec.get("concurrencyPolicy") or ""
    if not policy:
        found.append(causes.required("spec.concurrencyPolicy"))
    elif policy not in ("Allow", "Forbid", "Replace"):
        found.append(causes.not_supported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    template = (spec.get("jobTemplate") or {}).get("spec") or {}
    pod = ((before.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    lenient = lenient_as(pod.get("spec") or {}, pod.get("metadata") or {})
    job_spec(template, "spec.jobTemplate.spec", lenient, found)
    if template.get("selector") is not None:
        shown = selector_value(template["selector"])
        told = "`selector` will be auto-generated"
        found.append(causes.invalid("spec.jobTemplate.spec.selector", shown, told))
    if template.get("manualSelector"):
        where = "spec.jobTemplate.spec.manualSelector"
        found.append(causes.not_supported(where, True, ("nil", "false")))
    not_negative(spec, "spec", found, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    name = obj["metadata"].get("name") or ""
    if old is None and len(name) > _CRON_NAME:
        # Jobs get eleven more characters.
        found.append(causes.invalid("metadata.name", name, f"must be no more than {_CRON_NAME} characters"))
    return found


def _schedule(spec: Obj, before: Obj, found: Found) -> None:
    schedule = spec.get("schedule") or ""
    if not schedule:
        found.append(causes.required("spec.schedule"))
        return
    from kubernel_plugins import cron  # time zones are not for start-up

    try:
        cron.parse(schedule)
    except ValueError as error:
        found.append(causes.invalid("spec.schedule", schedule, str(error)))
    if "TZ" not in schedule:
        return
    if "TZ" in (before.get("schedule") or ""):
        if spec.get("timeZone") is not None:
            told = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            found.append(causes.invalid("spec.schedule", schedule, told))
    else:
        told = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        found.append(causes.invalid("spec.schedule", schedule, told))


def _time_zone(name: str | None, found: Found) -> None:
    if name is None:
        return
    where = "spec.timeZone"
    if not name:
        found.append(causes.invalid(where, name, "timeZone must be nil or non-empty string"))
        return
    parts = name.split("/")
    if any(part in (".", "..") or part[:1] == "-" or not _zone_part.fullmatch(part) for part in parts):
        found.append(causes.invalid(where, name, f"unknown time zone {name}"))
        return
    if name.lower() == "local":
        told = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        found.append(causes.invalid(where, name, told))
    if name == "Local":
        return
    from kubernel_plugins import cron

    try:
        cron.zone(name)
    except ValueError as error:
        found.append(causes.invalid(where, name, str(error)))
