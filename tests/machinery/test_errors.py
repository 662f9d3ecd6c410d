import msgspec
import pytest

from lakh.machinery import errors


def test_not_found_is_upstreams_status():
    assert errors.not_found("apps", "deployments", "web").status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'deployments.apps "web" not found',
        "reason": "NotFound",
        "details": {"name": "web", "group": "apps", "kind": "deployments"},
        "code": 404,
    }


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (errors.already_exists("", "pods", "a"), 409, "AlreadyExists", 'pods "a" already exists'),
        (
            errors.conflict("", "pods", "a"),
            409,
            "Conflict",
            f'Operation cannot be fulfilled on pods "a": {errors.MODIFIED}',
        ),
        (errors.unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (errors.forbidden("", "pods", "a", "no"), 403, "Forbidden", 'pods "a" is forbidden: no'),
        (errors.forbidden("", "pods", "", "no"), 403, "Forbidden", "pods is forbidden: no"),
        (errors.bad_request("x"), 400, "BadRequest", "x"),
        (errors.expired("x"), 410, "Expired", "x"),
        (errors.internal("x"), 500, "InternalError", "Internal error occurred: x"),
        (
            errors.path_not_found(),
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
    ],
)
def test_constructors(error, code, reason, message):
    assert (error.code, error.reason, error.message) == (code, reason, message)
    assert msgspec.json.decode(error.encode())["message"] == message


def test_retry_after_comes_from_the_details():
    assert errors.too_many_requests("slow down", 5).retry_after_seconds == 5
    assert errors.too_large_resource_version(10, 5).retry_after_seconds == 1
    assert errors.bad_request("x").retry_after_seconds is None


def test_invalid_lists_each_finding_once_in_the_message_and_all_as_causes():
    found = [
        errors.required("spec.a"),
        errors.invalid_value("spec.b", 'q"', "no quotes"),
        errors.required("spec.a"),
    ]
    error = errors.invalid("apps", "Deployment", "web", found)
    assert error.code == 422
    assert error.message == (
        'Deployment.apps "web" is invalid: [spec.a: Required value, spec.b: Invalid value: "q\\"": no quotes]'
    )
    assert error.details is not None
    assert [c["reason"] for c in error.details["causes"]] == [
        "FieldValueRequired",
        "FieldValueInvalid",
        "FieldValueRequired",
    ]


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (errors.required("a", "why"), "a: Required value: why"),
        (
            errors.not_supported("a", "x", ["c", "b"]),
            'a: Unsupported value: "x": supported values: "b", "c"',
        ),
        (errors.duplicate("a", 1), "a: Duplicate value: 1"),
        (errors.forbidden_field("a", "no"), "a: Forbidden: no"),
        (errors.not_found_field("a", "x"), 'a: Not found: "x"'),
        (errors.too_long("a", 3), "a: Too long: may not be more than 3 bytes"),
        (errors.too_many("a", 4, 3), "a: Too many: 4: must have at most 3 items"),
        (errors.type_invalid("a", None, "x"), "a: Invalid value: null: x"),
    ],
)
def test_findings_are_worded_as_field_errors(finding, text):
    assert str(finding) == text
    assert finding.cause()["field"] == "a"
