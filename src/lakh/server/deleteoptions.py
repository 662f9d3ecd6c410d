"""The options of a delete: upstream's DeleteOptions, from the body or the query, and ValidateDeleteOptions."""

from __future__ import annotations

import msgspec

from lakh.machinery import errors, gojson, gonumbers
from lakh.server.codec import read_body
from lakh.server.context import boolean, check_dry_run
from lakh.server.exchange import Request
from lakh.server.storage import DeleteOptions

_decode = msgspec.json.Decoder(DeleteOptions).decode


def delete_options(request: Request, query: dict[str, str]) -> DeleteOptions:
    """The options of a delete, from the body or the query; raises 400, 422."""
    if request.body:
        body = read_body(request.body, request.headers.get("content-type", ""))
        try:
            options = _decode(body)
        except msgspec.DecodeError as e:
            why = gojson.syntax_error(body) or e
            raise errors.bad_request(f"unable to decode the body as DeleteOptions: {why}") from None
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
