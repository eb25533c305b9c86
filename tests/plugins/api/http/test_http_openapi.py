"""What the answers with OpenAPI documents say of themselves, as a kube-apiserver was recorded to."""

from __future__ import annotations

from typing import Any

import pytest
from http_harness import Raw, World, check

V2, V3 = "/openapi/v2", "/openapi/v3/api/v1"


def test_the_index_is_text_of_this_moment_without_a_tag(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", "/openapi/v3")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "last-modified" in answer.headers
        assert not {"etag", "vary"} & set(answer.headers)

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("path", "vary"),
    [pytest.param(V2, ["Accept-Encoding", "Accept"], id="2"), pytest.param(V3, ["Accept"], id="3")],
)
def test_a_document_tells_its_tag_since_when_it_is_so_and_what_it_depends_on(
    tmp_path: Any, path: str, vary: list[str]
) -> None:
    async def body(world: World, raw: Raw) -> None:
        first, again = await raw.request("GET", path), await raw.request("GET", path)
        assert first.status == 200
        assert first.headers["last-modified"] == again.headers["last-modified"]
        assert [value for name, value in first.raw if name.lower() == "vary"] == vary
        known = await raw.request("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert (known.status, known.body) == (304, b"")

    check(body, tmp_path)


@pytest.mark.parametrize("path", [V2, V3])
def test_what_nobody_can_read_is_refused_without_a_word(tmp_path: Any, path: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", path, headers={"Accept": "text/plain"})
        assert (answer.status, answer.body) == (406, b"")
        assert "content-type" not in answer.headers

    check(body, tmp_path)


def test_an_old_hash_leads_to_the_document_that_there_is(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", f"{V3}?hash=0")
        assert answer.status == 301
        assert answer.headers["location"] == f"{V3}?hash={answer.headers['etag'].strip(chr(34))}"

    check(body, tmp_path)
