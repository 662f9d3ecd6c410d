"""Objects that the tests start from, as small as users write them."""

from __future__ import annotations

from typing import Any

# Simulated containers start at once, so that tests do not wait for them.
QUICK = {"lakh.dev/start-seconds": "0"}


def pod_template(app: str, image: str = "nginx:1.27", **spec: Any) -> dict[str, Any]:
    """A template of pods with one container `app`."""
    return {
        "metadata": {"labels": {"app": app}, "annotations": dict(QUICK)},
        "spec": {
            "containers": [
                {
                    "name": app,
                    "image": image,
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }
            ],
            **spec,
        },
    }


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod."""
    template = pod_template(name, **spec)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **template["metadata"]},
        "spec": template["spec"],
    }


def deployment(name: str, replicas: int = 3, image: str = "nginx:1.27", **spec: Any) -> dict[str, Any]:
    """A Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, image),
            **spec,
        },
    }


def daemonset(name: str, **pod_spec: Any) -> dict[str, Any]:
    """A DaemonSet."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, **pod_spec),
        },
    }


def job(name: str, *, run_seconds: str = "0.1", exit_code: int = 0, **spec: Any) -> dict[str, Any]:
    """A Job whose pods run for a moment."""
    template = pod_template(name, restartPolicy="Never")
    template["metadata"] = {
        "annotations": {**QUICK, "lakh.dev/run-seconds": run_seconds, "lakh.dev/exit-code": str(exit_code)}
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def service(name: str) -> dict[str, Any]:
    """A Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 80}]},
    }


def configmap(name: str, **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
