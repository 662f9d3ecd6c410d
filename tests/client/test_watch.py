from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.client import errors
from lakh.client import watch as watch_module
from lakh.client.types import ObjectMeta, ObjectView
from lakh.client.watch import LineSplitter, decode_list, watch_decoder


class Narrow(msgspec.Struct, gc=False):
    metadata: ObjectMeta
    spec: dict[str, int]


def test_change_bookmark_error():
    decode = watch_decoder(Narrow)
    event = decode(b'{"type":"ADDED","object":{"kind":"X","metadata":{"name":"a"},"spec":{"n":1}}}')
    assert (event.type, event.object.metadata.name, event.object.spec) == ("ADDED", "a", {"n": 1})
    for line in (
        b'{"type":"BOOKMARK","object":{"kind":"X","metadata":{"resourceVersion":"7"},"spec":{}}}',
        b'{ "object": {"metadata":{"resourceVersion":"7"}, "spec": null}, "type": "BOOKMARK"}',
    ):
        bookmark = decode(line)
        assert bookmark.type == "BOOKMARK"
        assert isinstance(bookmark.object, ObjectView)
        assert bookmark.object.metadata.resourceVersion == "7"
    with pytest.raises(errors.ApiError) as caught:
        decode(
            b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'
        )
    assert errors.is_expired(caught.value)


@pytest.mark.parametrize("kind", [dict, bytes])
def test_plain_types(kind):
    decode = watch_decoder(kind)
    for name in ("ADDED", "BOOKMARK"):
        event = decode(b'{"type":"%s","object":{"metadata":{}}}' % name.encode())
        assert event.type == name
        assert event.object == ({"metadata": {}} if kind is dict else b'{"metadata":{}}')


@pytest.mark.parametrize(
    "line",
    [b"x", b"{}", b'{"type":"ADDED","object":{}}', b'{"type":"NEW","object":{"metadata":{},"spec":{}}}'],
)
def test_what_is_no_event(line):
    with pytest.raises(errors.BadResponse):
        watch_decoder(Narrow)(line)


def test_lists():
    page = decode_list(b'{"metadata":{"resourceVersion":"3","continue":"c"},"items":null}', Narrow)
    assert (page.items, page.metadata.continue_, page.metadata.resourceVersion) == ([], "c", "3")
    with pytest.raises(errors.BadResponse):
        decode_list(b"[]", Narrow)


@given(st.lists(st.binary(max_size=5)), st.lists(st.integers(0, 60)))
def test_lines_survive_any_chunking(lines, cuts):
    lines = [line.replace(b"\n", b"") for line in lines]
    data = b"".join(line + b"\n" for line in lines)
    cuts = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    splitter = LineSplitter()
    got = [line for a, b in itertools.pairwise(cuts) for line in splitter.feed(data[a:b])]
    assert got == [line for line in lines if line]


def test_endless_line_is_refused(monkeypatch):
    monkeypatch.setattr(watch_module, "MAX_LINE_BYTES", 10)
    splitter = LineSplitter()
    splitter.feed(b"x" * 10)
    with pytest.raises(errors.BadResponse):
        splitter.feed(b"x")
