"""The options of a delete: upstream's DeleteOptions, from the body or the query, and ValidateDeleteOptions."""

from __future__ import annotations

import msgspec

from lakh.apis.definitions import schema
from lakh.machinery import errors, gojson, gonumbers, unknown
from lakh.server.codec import load_json, no_object, read_body
from lakh.server.context import boolean, check_dry_run
from lakh.server.exchange import Request
from lakh.server.storage import DeleteOptions

# Null is no options, as for Go.
_decode = msgspec.json.Decoder(DeleteOptions | None).decode

_DEFINITION = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
# Types that are strings, as Go names them.
_NAMED = {".propagationPolicy": "v1.DeletionPropagation", ".uid": "types.UID"}


def delete_options(request: Request, query: dict[str, str]) -> DeleteOptions:
    """The options of a delete, from the body or the query; raises 400, 422."""
    if request.body:
        body = read_body(request.body, request.headers.get("content-type", ""))
        try:
            options = _decode(body) or DeleteOptions()
        except msgspec.DecodeError as e:
            raise errors.bad_request(_malformed(body) or str(e)) from None
        if options.kind not in (None, "", "DeleteOptions"):
            raise errors.bad_request("decoded object cannot be converted to DeleteOptions")
    else:
        options = DeleteOptions()
        grace = query.get("gracePeriodSeconds", "")
        if grace:
            try:
                options.gracePeriodSeconds = gonumbers.parse_int(grace)
            except ValueError as e:
                raise errors.bad_request(str(e)) from None
        if query.get("propagationPolicy"):
            options.propagationPolicy = query["propagationPolicy"]
        if "orphanDependents" in query:
            options.orphanDependents = boolean(query, "orphanDependents")
        if "dryRun" in query:
            options.dryRun = [query["dryRun"]]
    check_delete_options(options)
    return options


def _malformed(body: bytes) -> str | None:
    """What is wrong with a body, as Go's decoder says it."""
    if syntax := gojson.syntax_error(body):
        return f"couldn't get version/kind; json parse error: {syntax}"
    plain = load_json(body)
    if not isinstance(plain, dict):
        return no_object(plain)
    for name in ("apiVersion", "kind"):
        value = plain.get(name)
        if not isinstance(value, str | None):
            got = errors.json_type(value)
            return (
                f"couldn't get version/kind; json parse error: json: cannot unmarshal {got} into Go struct field "
                f".{name} of type string"
            )
    why = unknown.type_error(plain, schema().node(_DEFINITION))
    for field, kind in _NAMED.items():
        if why is not None and why.endswith(f"{field} of type string"):
            return why.removesuffix("string") + kind
    return why


def check_delete_options(options: DeleteOptions) -> None:
    """Refuses options with all findings: upstream's ValidateDeleteOptions. Raises 422."""
    findings = []
    if options.propagationPolicy is not None and options.orphanDependents is not None:
        findings.append(
            errors.invalid_value(
                "propagationPolicy",
                options.propagationPolicy,
                "orphanDependents and deletionPropagation cannot be both set",
            )
        )
    if options.propagationPolicy not in (None, "Orphan", "Background", "Foreground"):
        findings.append(
            errors.not_supported(
                "propagationPolicy",
                options.propagationPolicy,
                ("Foreground", "Background", "Orphan", "nil"),
                as_given=True,
            )
        )
    findings += check_dry_run(options.dryRun or ())
    if findings:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", findings)
