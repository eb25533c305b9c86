from __future__ import annotations

import itertools
import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from kubernel.clock import rfc3339
from kubernel.objects import times
from kubernel_plugins.cron import parse, zone

RECORDED = json.loads((Path(__file__).parent / "recorded_times.json").read_text())
"""What robfig/cron v3.0.1 said: (schedule, after which time, the next four times or the refusal), many of them around
changes of clocks."""


SPOKEN = [entry for entry in RECORDED if isinstance(entry[2], list)]
REFUSED = [entry for entry in RECORDED if isinstance(entry[2], str)]


@pytest.mark.parametrize(
    ("text", "after", "told"), SPOKEN, ids=[f"{text} {after}" for text, after, _ in SPOKEN]
)
def test_times_are_those_of_robfig(text: str, after: int, told: list[int | None]) -> None:
    schedule = parse(text)
    found: list[float | None] = []
    moment: float | None = after
    while moment is not None and len(found) < 4:
        moment = schedule.next(moment)
        found.append(moment)
    assert found == told


@pytest.mark.parametrize(("text", "told"), [(text, told) for text, _, told in REFUSED])
def test_refusals_are_those_of_robfig(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told.removeprefix('error '))}$"):
        parse(text)


def following(text: str, after: str, count: int = 1, where: str = "") -> list[str]:
    schedule = parse(text, zone(where))
    found: list[str] = []
    moment = times.parse(after)
    for _ in range(count):
        following = schedule.next(moment)
        assert following is not None
        moment = following
        found.append(rfc3339(moment))
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
        ("0/15 * * * *", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z"),
        ("0/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
        ("0/15 * * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:00:00Z"),
        ("20-35/15 * * * *", "2012-12-31T23:59:45Z", "2013-01-01T00:20:00Z"),
        ("0 0 9 apr-oct ?", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00Z"),
        ("0 0 */5 Apr,Aug,Oct Mon", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z"),
        ("0 0 */5 oct MON", "2012-07-09T23:35:00Z", "2012-10-01T00:00:00Z"),
        ("0 0 * feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z"),
        ("30 23 * feb Mon,Tue/2", "2012-07-09T23:35:00Z", "2013-02-02T23:30:00Z"),
        ("0 0 29 2 ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
        ("0 0 1 * 1", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("0 0 * * 1", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ("@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@monthly", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("@every 1h30m", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
        ("TZ=America/New_York 0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-01T14:00:00Z"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
    ],
)
def test_the_next_time(text: str, after: str, expected: str) -> None:
    assert following(text, after) == [expected]


def test_a_date_that_never_comes_has_no_next_time() -> None:
    assert parse("0 0 30 2 *").next(times.parse("2026-01-01T00:00:00Z")) is None


def test_a_local_time_that_the_clocks_skip_is_skipped() -> None:
    # New York, 8 March 2026: 02:00 is 03:00.
    assert following("30 2 * * *", "2026-03-07T06:00:00Z", 2, "America/New_York") == [
        "2026-03-07T07:30:00Z",
        "2026-03-09T06:30:00Z",
    ]


def test_a_local_time_that_the_clocks_repeat_occurs_twice() -> None:
    # New York, 1 November 2026: 02:00 is 01:00 again.
    assert following("30 1 * * *", "2026-11-01T00:00:00Z", 3, "America/New_York") == [
        "2026-11-01T05:30:00Z",
        "2026-11-01T06:30:00Z",
        "2026-11-02T06:30:00Z",
    ]


def test_each_real_hour_of_the_days_on_which_the_clocks_change_occurs_once() -> None:
    for after, hours in (("2026-03-08T05:00:00Z", 23), ("2026-11-01T04:00:00Z", 25)):
        found = following("0 * * * *", after, hours, "America/New_York")
        stamps = [times.parse(one) for one in found]
        assert [late - early for early, late in itertools.pairwise(stamps)] == [3600] * (hours - 1)
        local = datetime.fromtimestamp(stamps[-1], zone("America/New_York"))
        assert local.hour == 0


@pytest.mark.parametrize(
    ("where", "after", "expected"),
    [
        # Midnight does not exist: 4 November 2018 in São Paulo, 29 March 2026 in Beirut.
        ("America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-04T08:00:00Z"),
        ("Asia/Beirut", "2026-03-28T12:00:00Z", "2026-04-29T03:00:00Z"),
    ],
)
def test_a_day_without_midnight_may_be_left_out_as_by_robfig(where: str, after: str, expected: str) -> None:
    day = expected[8:10].lstrip("0")
    assert following(f"0 6 {day} * *", after, 1, where) == [expected]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/2/3 * * * *", "too many slashes: */2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("* * * foo *", 'failed to parse int from foo: strconv.Atoi: parsing "foo": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
        ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as error:
        parse(text)
    assert str(error.value) == problem


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "Nowhere/City", "a\0b"])
def test_a_time_zone_is_a_name_and_not_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        zone(name)
