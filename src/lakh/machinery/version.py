"""The Kubernetes version that we speak, as `/version` and the metric `kubernetes_build_info` tell it."""

from __future__ import annotations

import platform

from lakh import __version__

MAJOR, MINOR, PATCH = 1, 36, 0
GIT_VERSION = f"v{MAJOR}.{MINOR}.{PATCH}+lakh-{__version__}"
COMPILER = f"python{platform.python_version()}"
PLATFORM = f"{platform.system().lower()}/{'amd64' if platform.machine() == 'x86_64' else platform.machine()}"
BUILD_DATE = "1970-01-01T00:00:00Z"
