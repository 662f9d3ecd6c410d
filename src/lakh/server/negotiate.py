"""What form of answer a client accepts: whole objects, `Table`s, or `PartialObjectMetadata`; as JSON, YAML or protobuf."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from lakh.machinery import errors, protobuf

Shape = Literal["object", "table", "metadata"]
Media = Literal["json", "yaml", "protobuf"]
# In upstream's order: the first that an entry with wildcards matches is taken.
_MEDIA: dict[str, Media] = {
    "application/json": "json",
    "application/yaml": "yaml",
    protobuf.MEDIA_TYPE: "protobuf",
}
SERVED = tuple(_MEDIA)
# YAML has no way to frame the events of a watch.
STREAMED = tuple(f"{name};stream=watch" for name, media in _MEDIA.items() if media != "yaml")
CONTENT_TYPES: dict[Media, bytes] = {media: name.encode() for name, media in _MEDIA.items()}


META = "meta.k8s.io/v1"


class Accepted(NamedTuple):
    """The form chosen."""

    shape: Shape
    media: Media
    meta: str = META
    """The apiVersion of a table or of metadata: the one that was asked for."""

    @property
    def content_type(self) -> bytes:
        """The media type of an answer in this form."""
        return CONTENT_TYPES[self.media]


_JSON = Accepted("object", "json")


# Longer `Accept` headers than any client sends are not remembered.
REMEMBERED_CHARACTERS = 4096


def accepted(
    header: str, *, messages: bool = True, watch: bool = False, many: bool | None = None
) -> Accepted:
    """The first entry of an `Accept` header that can be served; raises 406 when there is none.

    Entries are taken by quality, the specific before wildcards. `messages`: whether the kind's objects exist as protobuf (those of custom
    resources do not). `watch`: whether the answer is a stream. `many`: whether it is a list, where that is known; metadata is asked for in
    another way then.
    """
    if header == "application/json":
        return _JSON
    if len(header) > REMEMBERED_CHARACTERS:
        return _choose(header, messages, watch, many)
    return _remembered(header, messages, watch, many)


def _choose(header: str, messages: bool, watch: bool, many: bool | None) -> Accepted:
    for kind, options in _entries(header) if header else ():
        for name, media in _MEDIA.items():
            if kind not in (name, "application/*", "*/*"):
                continue
            shape = _shape(options, media)
            if shape is None or (media == "protobuf" and shape == "object" and not messages):
                continue
            if many is not None and shape == "metadata" and many != options["as"].endswith("List"):
                raise errors.not_acceptable_as(options["as"], many)
            if watch and media == "yaml":
                raise errors.not_acceptable(STREAMED)
            meta = META if shape == "object" else f"meta.k8s.io/{options['v']}"
            return Accepted(shape, media, meta)
    if header:
        raise errors.not_acceptable(SERVED)
    return _JSON


_remembered = lru_cache(256)(_choose)


def _entries(header: str) -> list[tuple[str, dict[str, str]]]:
    found = []
    for entry in header.split(","):
        kind, *parameters = (p.strip() for p in entry.split(";"))
        options = dict(p.split("=", 1) for p in parameters if "=" in p)
        try:
            quality = float(options.get("q", "1"))
        except ValueError:
            quality = 1.0
        main, _, sub = kind.partition("/")
        found.append(((-quality, main == "*", sub == "*"), kind, options))
    found.sort(key=lambda e: e[0])
    return [(kind, options) for _, kind, options in found]


def _shape(options: dict[str, str], media: Media) -> Shape | None:
    """What an entry's parameters ask for; None when that is not served."""
    if options.get("stream", "watch") != "watch":
        return None
    wanted = options.get("as")
    if wanted is None:
        return "object"
    if options.get("g") != "meta.k8s.io" or options.get("v") not in ("v1", "v1beta1"):
        return None
    if wanted == "Table":
        return "table" if media != "protobuf" else None
    return "metadata" if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList") else None
