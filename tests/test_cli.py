"""Exit codes, and the one clear line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lakh import cli

from .conformance.cluster import Process
from .ports import free_port

pytestmark = pytest.mark.xdist_group("clusters-2")


def lakh(*arguments: object, **environment: str) -> tuple[int, str]:
    """The exit code and standard error of a command that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "lakh", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stderr


def fails(*arguments: object, says: str) -> None:
    code, said = lakh(*arguments, HOME="/nonexistent", KUBECONFIG="")
    assert code == 1, said
    lines = [line for line in said.splitlines() if line.startswith("lakh: ")]
    assert len(lines) == 1 and says in lines[0], said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("up", "--port", "70000"),
        ("up", "--port", "-1"),
        ("up", "--nodes", "many"),
        ("up", "--instance-type", "t2.nano"),
        ("up", "--engine", "paper"),
        ("nodes",),
        ("nodes", "--count", "-1"),
        ("bench",),
        ("bench", "api", "--seconds", "0"),
        ("bench", "api", "--clients", "0"),
        ("bench", "api", "--rate", "nan"),
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    from lakh.cli import main

    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert "error: " in said[-1]


def test_reading_the_command_line_loads_no_server() -> None:
    """Half a second and 30 MB, for each of a cluster's processes."""
    said = "import sys; from lakh import cli; cli._parser(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, timeout=300, check=True
    ).stdout.split()
    assert "lakh.store_options" in loaded
    assert not [name for name in loaded if name.startswith(("lakh.server", "lakh.apis", "rich"))]


def test_an_unknown_instance_type_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    from lakh.cli import main

    with pytest.raises(SystemExit):
        main(["nodes", "--count", "1", "--instance-type", "t2.nano"])
    assert "unknown instance type 't2.nano'; known are trn2.48xlarge" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [("scheduler",), ("controllers",), ("nodes", "--count", "1"), ("bench", "api")]
)
def test_missing_kubeconfig(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from lakh.cli import main

    assert main([*command, "--kubeconfig", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("lakh: there is no kubeconfig at ")


def test_a_bad_kubeconfig(tmp_path: Path) -> None:
    bad = tmp_path / "config"
    bad.write_text("clusters: 7\n")
    for command in (("scheduler",), ("controllers",)):
        fails(*command, "--kubeconfig", bad, says="")


def test_a_ca_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lakh.cli import main

    file = tmp_path / "ca.crt"
    file.write_text("nothing")
    certificate, key = ("--cluster-signing-cert-file", str(file)), ("--cluster-signing-key-file", str(file))
    for arguments, says in (
        (certificate, "--cluster-signing-cert-file and --cluster-signing-key-file belong together"),
        (key, "belong together"),
        ((*certificate, *key), f"{file} is no certificate"),
    ):
        assert main(["controllers", *arguments]) == 1
        assert says in capsys.readouterr().err


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in ("up", "apiserver"):
            fails(command, "--data-dir", tmp_path / command, "--port", port, says=str(port))


def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for command in ("up", "apiserver"):
        fails(command, "--data-dir", file, "--port", free_port(), says=str(file))
    (tmp_path / "logs" / "apiserver.log").mkdir(parents=True)
    fails("up", "--data-dir", tmp_path, "--port", free_port(), says="apiserver.log")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_data_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    fails("up", "--data-dir", tmp_path / "data", "--port", free_port(), says="Permission denied")


def test_held_and_corrupt_data(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    server = Process(tmp_path / "out", "apiserver", "--data-dir", str(data), "--port", str(port))
    try:
        server.until("serving https://")
        for command in ("up", "apiserver"):
            # On the holder's own port the holder answers /readyz: that must not pass for ours.
            fails(command, "--data-dir", data, "--port", port, says="")
            fails(command, "--data-dir", data, "--port", free_port(), says=str(data))
    finally:
        server.process.kill()
        server.process.wait()
    segments = [p for p in data.rglob("*.log") if p.stat().st_size > 2000 and "journal" in str(p)]
    assert segments, list(data.rglob("*"))
    largest = max(segments, key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 4] ^= 0xFF
    largest.write_bytes(content)
    for command in ("up", "apiserver"):
        fails(command, "--data-dir", data, "--port", port, says=str(largest.parent))
    assert largest.read_bytes() == content, "nothing was cut"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("a: [", "cannot read the manifest"),
        ("kind: Pod\nmetadata: {name: p}", "every object needs"),
        ("apiVersion: v1\nkind: Pod\nmetadata: [p]", "every object needs"),
        ("- 1", "every object needs"),
    ],
)
def test_a_bad_manifest(
    text: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lakh.cli import Failure
    from lakh.up import load_manifest

    path = tmp_path / "m.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Failure, match=says) as error:
        load_manifest(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", ["scheduler", "up"])
def test_a_wrong_scheduler_configuration(tmp_path: Path, command: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nparallelism: 0\n"
    )
    option = "--config" if command == "scheduler" else "--scheduler-config"
    fails(
        command,
        option,
        path,
        says=f"{path}: parallelism: Invalid value: 0: should be an integer value greater",
    )
    assert sorted(tmp_path.iterdir()) == [path]
    fails(command, option, tmp_path / "none.yaml", says="No such file or directory")


def test_a_long_start_shows_its_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = cli.Loading()
    quick.show("pods", 5 << 20, 9 << 20)
    quick.close()
    assert capsys.readouterr().out == "", "a short one does not"
    monkeypatch.setattr(cli, "SHOW_AFTER_SECONDS", 0.0)
    loading = cli.Loading()
    loading.show("pods", 5 << 20, 9 << 20)
    loading.close()
    assert capsys.readouterr().out == f"{cli.LOADING}pods (MiB): 5/9\n"
