"""A real cluster on one machine: a head and worker nodes as processes of their own, with token authentication."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import ROOT

RAY = str(Path(sys.executable).with_name("ray"))
OBJECT_STORE = 100 * 1024**2  # bytes a node; prompts and short answers
TRIES = 3
STARTED = "Ray runtime started"  # says `ray start`
# A node that is lost is noticed after some seconds, instead of about a minute.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000", "RAY_health_check_failure_threshold": "3",
}  # fmt: skip
Process = subprocess.Popen[bytes]


def free_ports(count: int) -> list[int]:
    """Different ones."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]


def free_port() -> int:
    return free_ports(1)[0]


@dataclass
class Node:
    """One `ray start --block` and all that it has started."""

    process: Process
    identity: str  # as Ray calls it

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """SIGKILL to everything on it, as when its power goes."""
        for one in self.tree():
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class LocalCluster:
    """Use as a context manager; nodes can be added and killed while it lasts."""

    token: str = "0123456789abcdef" * 4
    port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="jr-")))  # short: sockets lie there
    nodes: list[Node] = field(default_factory=list)
    head: Node | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of nodes, and of whoever talks to them."""
        file = self.folder / "token"
        if not file.exists():
            file.write_text(self.token)
            file.chmod(0o600)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {
            **clean, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file),
            "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), **QUICK,
        }  # fmt: skip

    def __enter__(self) -> "LocalCluster":
        return self

    def __exit__(self, *_: object) -> None:
        for node in [*self.nodes, *([self.head] if self.head else [])]:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_head(self, submit: bool = True) -> Node:
        """A head, or a new one at the same address after the last was killed.

        `submit`: jobs are submitted to it, for which it starts ten more processes.
        """
        self.head = self._start(
            set(), "--head", "--port", str(self.port), "--dashboard-host", "127.0.0.1", "--dashboard-port",
            str(self.dashboard_port), "--temp-dir", str(self.folder), "--include-dashboard", str(submit).lower(),
            "--ray-client-server-port", str(free_port()),
        )  # fmt: skip
        return self.head

    def add_node(self, labels: str | None = None, gpus: int = 0, **environment: str) -> Node:
        """Wait for it: two that start at once on one machine take each other's registration (Ray 2.60)."""
        more = [*(["--labels", labels] if labels else []), *(["--num-gpus", str(gpus)] if gpus else [])]
        there = set(self.alive())
        self.nodes.append(self._start(there, "--address", self.address, *more, environment=environment))
        return self.nodes[-1]

    def _start(self, there: set[str], *arguments: str, environment: dict[str, str] | None = None) -> Node:
        """Start a node that is not among `there`; again if Ray gives up, as it does after 30 s on a busy machine."""
        for _ in range(TRIES):
            log = self.folder / f"start-{time.monotonic_ns()}.log"
            process = self._spawn(log, *arguments, environment=environment)
            while process.poll() is None:
                if STARTED in log.read_text(errors="replace") and (new := set(self.alive()) - there):
                    return Node(process, new.pop())
                time.sleep(0.2)
        raise AssertionError(f"the node does not come: {self._logs()}")

    def _spawn(self, log: Path, *arguments: str, environment: dict[str, str] | None) -> Process:
        names = ("dashboard-agent-listen-port", "metrics-export-port", "runtime-env-agent-port")
        ports = [f"--{name}={port}" for name, port in zip(names, free_ports(len(names)), strict=True)]
        stream = log.open("wb")
        # Log monitors send what workers print to drivers, which jmed does not ask for; each looks ten times a second.
        return subprocess.Popen(
            [
                RAY, "start", "--block", "--node-ip-address", "127.0.0.1", "--num-cpus", "1",
                "--object-store-memory", str(OBJECT_STORE), "--disable-usage-stats", "--min-worker-port", "0",
                "--max-worker-port", "0", "--include-log-monitor", "false", *ports, *arguments,
            ],
            stdout=stream, stderr=stream, env={**self.environment, **(environment or {})}, start_new_session=True,
        )  # fmt: skip

    def alive(self) -> list[str]:
        """Ids of the nodes that Ray counts as alive; none if nobody answers."""
        done = subprocess.run(
            [sys.executable, "-c", _ALIVE, self.address],
            env=self.environment, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        return done.stdout.split() if done.returncode == 0 else []

    def _logs(self) -> str:
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in self.folder.glob("start-*.log"))

    def run(self, *command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of a user who has the token."""
        return subprocess.run(
            command, cwd=cwd, env={**self.environment, **environment}, capture_output=True, text=True, timeout=1200,
            check=False,
        )  # fmt: skip

    def submit(self, *job: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit`, following the log to the end."""
        command = [RAY, "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--", "python", *job]
        return self.run(*command, cwd=cwd, **environment)

    def start_job(self, *job: str, **environment: str) -> subprocess.Popen[str]:
        """A driver of its own, as `python jobs/…` on a machine of the cluster."""
        return self.start(sys.executable, *job, RAY_ADDRESS=self.address, **environment)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**self.environment, **environment},
        )  # fmt: skip


_ALIVE = """
import sys
from ray._raylet import GcsClient
for node in GcsClient(address=sys.argv[1]).get_all_node_info().values():
    if node.state == 0:
        print(node.node_id.hex())
"""
