"""Writes docs/kubectl.md: what the stock kubectl prints on a fresh cluster, really run.

python -m tests.conformance.transcript docs/kubectl.md
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from .cluster import Cluster, Kubectl, eventually

NODES = 20
# Longer outputs are cut, with a note.
MAX_LINES = 16
# Lists of all nodes are alike; a description is what one wants to see whole.
LINES = {"kubectl get nodes": 4, "kubectl describe": 90, "kubectl rollout status": 4}
MAX_COLUMNS = 150
COMMAND_SECONDS = 60

HEAD = """# kubectl on Lakh

Every command below was run with a stock kubectl on a fresh `lakh up --nodes 20`; outputs are its own, long ones cut. This page is
written by `tests/conformance/transcript.py`; the tests beside it check the same commands and many more on every run.
"""

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        resources:
          requests: {cpu: 100m, memory: 64Mi}
"""

JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: train
spec:
  completionMode: Indexed
  completions: 4
  parallelism: 4
  template:
    metadata:
      annotations: {lakh.dev/run-seconds: "1"}
    spec:
      restartPolicy: Never
      containers:
      - name: train
        image: training:1
        resources:
          limits: {aws.amazon.com/neuron: 16}
"""

# Title, a sentence, commands.
SECTIONS: tuple[tuple[str, str, str], ...] = (
    (
        "The cluster",
        "",
        """
kubectl version
kubectl cluster-info
kubectl auth whoami
kubectl auth can-i create pods
kubectl api-resources --api-group=apps
kubectl top nodes
""",
    ),
    (
        "Nodes",
        "Simulated machines register, renew leases and run pods through the same API as real ones.",
        """
kubectl get nodes -o wide
kubectl get nodes -L node.kubernetes.io/instance-type,topology.kubernetes.io/zone
kubectl get nodes -o custom-columns=NAME:.metadata.name,NEURON:.status.allocatable.'aws\\.amazon\\.com/neuron'
kubectl describe node trn2-00000
""",
    ),
    (
        "A Deployment",
        "`web.yaml` is an ordinary Deployment of three pods.",
        """
kubectl apply -f web.yaml
kubectl rollout status deployment/web
kubectl get deployments,replicasets,pods -o wide
kubectl apply -f web.yaml
kubectl set image deployment/web web=nginx:1.28
kubectl rollout status deployment/web
kubectl rollout history deployment/web
kubectl rollout undo deployment/web
kubectl rollout status deployment/web
KUBE_EDITOR='sed -i s/replicas:.*/replicas:\\ 5/' kubectl edit deployment web
kubectl scale deployment/web --replicas=2
kubectl wait --for=jsonpath='{.status.replicas}'=2 deployment/web
kubectl label deployment web tier=front
kubectl annotate deployment web note='hello'
kubectl describe deployment web
kubectl get events --field-selector=involvedObject.kind=Deployment
""",
    ),
    (
        "Quotas and autoscalers",
        "Quotas are counted, not enforced. There is no metrics API, so an autoscaler keeps its bounds and says what it lacks.",
        """
kubectl create quota small --hard=pods=5,requests.cpu=1,count/deployments.apps=2
kubectl wait --for=jsonpath='{.status.used.pods}'=2 quota/small
kubectl describe quota small
kubectl autoscale deployment web --min=3 --max=5 --cpu-percent=70
kubectl wait --for=condition=ScalingActive=false hpa/web
kubectl get hpa
kubectl describe hpa web
kubectl delete hpa/web quota/small
kubectl scale deployment/web --replicas=2
""",
    ),
    (
        "Server-side apply",
        "Fields have owners, and a second owner is told.",
        """
kubectl apply --server-side --field-manager=ci -f web.yaml
kubectl apply --server-side --field-manager=ci --force-conflicts -f web.yaml
kubectl apply --dry-run=server -f web.yaml
sed s/nginx:1.27/nginx:1.29/ web.yaml | kubectl diff -f -
""",
    ),
    (
        "A training job",
        "`train.yaml` is an Indexed Job of four pods that take 16 Trainium chips each, a whole `trn2.48xlarge`.",
        """
kubectl apply -f train.yaml
kubectl wait --for=condition=Complete job/train --timeout=60s
kubectl get jobs,pods -l batch.kubernetes.io/job-name=train
kubectl describe job train
""",
    ),
    (
        "Taking a node out",
        "",
        """
kubectl taint nodes trn2-00001 maintenance=soon:NoSchedule
kubectl taint nodes trn2-00001 maintenance-
kubectl cordon trn2-00002
kubectl get node trn2-00002
kubectl drain $(kubectl get pods -l app=web -o jsonpath='{.items[0].spec.nodeName}') --ignore-daemonsets
kubectl uncordon trn2-00002
""",
    ),
    (
        "Finding out",
        "",
        """
kubectl explain pod.spec.containers.resources
kubectl get pods --field-selector=status.phase=Running -l app=web -o name
kubectl get --raw '/readyz?verbose'
kubectl get unicorns
kubectl create configmap Not_A_Name
""",
    ),
    (
        "Deleting",
        "",
        """
kubectl delete deployment web --cascade=foreground
kubectl delete job train
kubectl get all
""",
    ),
)


def trimmed(command: str, text: str, directory: Path) -> str:
    """Output fit for a page."""
    limit = next((n for start, n in LINES.items() if command.startswith(start)), MAX_LINES)
    lines = [line.rstrip() for line in text.replace(str(directory) + "/", "").rstrip().splitlines()]
    lines = [line if len(line) <= MAX_COLUMNS else line[: MAX_COLUMNS - 1] + "…" for line in lines]
    if len(lines) > limit + 1:
        lines = [*lines[:limit], f"… ({len(lines) - limit} more lines)"]
    return "\n".join(lines)


def main(target: Path) -> None:
    """Runs everything and writes the page."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        cluster = Cluster(directory / "cluster", NODES).ready()
        try:
            kubectl = Kubectl(cluster.kubeconfig, directory)
            eventually(lambda: kubectl("get", "sa", "default", code=None).code == 0, "the ServiceAccount")
            (directory / "web.yaml").write_text(MANIFEST)
            (directory / "train.yaml").write_text(JOB)
            page = [HEAD]
            for title, prose, commands in SECTIONS:
                page.append(f"## {title}\n")
                if prose:
                    page.append(prose + "\n")
                page.append("```console")
                for command in commands.strip().splitlines():
                    done = subprocess.run(
                        ["bash", "-c", command],
                        env=kubectl.environment(),
                        cwd=directory,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                        timeout=COMMAND_SECONDS,
                    )
                    page.append(f"$ {command}")
                    output = trimmed(command, done.stdout, directory)
                    if output:
                        page.append(output)
                page.append("```\n")
        finally:
            cluster.stop()
    target.write_text("\n".join(page))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {shlex.join(sys.argv)} FILE")
    main(Path(sys.argv[1]))
