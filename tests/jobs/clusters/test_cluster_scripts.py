"""The start scripts of cluster/, for real: a head and a worker with a token, once plain and once with TLS."""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.jobs.cluster import free_ports

ON_PREMISE = ROOT / "cluster/on-premise"
WAIT = 40  # seconds; a node takes about four to start


@dataclass
class TwoNodes:
    """A head and a worker on this machine, started by the scripts in the foreground."""

    folder: Path
    environment: dict[str, str]
    ip: str
    port: int
    dashboard: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def run(self, *command: str, timeout: int = WAIT, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False,
            env={**self.environment, **environment},
        )  # fmt: skip

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command with token and certificates."""
        return self.run(str(ON_PREMISE / "with-env.sh"), *command)

    def start(self, role: str, *arguments: str) -> None:
        log = (self.folder / f"{role}.log").open("wb")
        command = [str(ON_PREMISE / f"start-{role}.sh"), "--ip", self.ip, "--temp-dir", str(self.folder / role[0])]
        self.processes[role] = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
        )

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def nodes(self) -> list[dict[str, Any]]:
        """What Ray says of its nodes; empty while it does not answer."""
        done = self.inside("ray", "list", "nodes", "--address", self.url, "--format", "json")
        return json.loads(done.stdout) if done.stdout.startswith("[") else []

    def alive(self) -> list[dict[str, Any]]:
        return [node for node in self.nodes() if node["state"] == "ALIVE"]

    def stop(self) -> None:
        """SIGTERM to the scripts' processes (they have become Ray), and what then is left of their groups."""
        for role in ("worker", "head"):
            if (process := self.processes.get(role)) is None:
                continue
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(timeout=WAIT)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def until(condition: Callable[[], Any], what: Callable[[], str]) -> Any:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(what())


def environment(folder: Path) -> dict[str, str]:
    """Hostile on purpose: the mode says disabled, as in all other tests, and a wrong token lies in the environment."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return {
        **mine,
        "PATH": f"{Path(sys.executable).parent}:{mine['PATH']}",
        "HOME": str(folder / "home"),
        "RAY_AUTH_MODE": "disabled",
        "RAY_AUTH_TOKEN": "not the token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
    }


def two_unstarted_nodes(folder: Path) -> TwoNodes:
    from ray.util import get_node_ip_address

    port, dashboard = free_ports(2)
    return TwoNodes(folder, environment(folder), get_node_ip_address(), port, dashboard)


def boot(two: TwoNodes, tls: bool) -> None:
    assert two.run(str(ON_PREMISE / "make-token.sh")).returncode == 0
    if tls:
        make = str(ROOT / "cluster/tls/make-certificates.sh")
        made = two.run(make, str(two.folder / "tls"), f"node={two.ip}")
        assert made.returncode == 0, made.stderr
        two.environment["JMED_TLS_DIR"] = made.stdout.strip()
    client, agent, other_agent = (str(port) for port in free_ports(3))  # Ray's usual ones may be another Ray's
    ports = ["--ray-client-server-port", client, "--dashboard-agent-listen-port", agent]
    two.start("head", "--port", str(two.port), "--dashboard-port", str(two.dashboard), "--", *ports)
    until(lambda: http_status(two) == 401, lambda: two.log("head"))
    labels = ["--gpu-kind", "t4", "--batch-tokens", "2048"]
    ports = ["--dashboard-agent-listen-port", other_agent]
    two.start("worker", "--head", two.address, *labels, "--", "--num-cpus", "1", *ports)
    until(lambda: len(two.alive()) == 2, lambda: two.log("worker"))


@pytest.fixture(scope="module", params=["plain", "tls"])
def two_nodes(request: pytest.FixtureRequest) -> Iterator[TwoNodes]:
    folder = Path(tempfile.mkdtemp(prefix="jmed-"))  # short: Ray puts sockets there
    two = two_unstarted_nodes(folder)
    try:
        boot(two, tls=request.param == "tls")
        yield two
    finally:
        two.stop()
        shutil.rmtree(folder, ignore_errors=True)


def http_status(two: TwoNodes, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{two.url}/api/jobs/", headers=headers), timeout=5
        ) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_the_token_opens(two_nodes: TwoNodes) -> None:
    token = (two_nodes.folder / "token").read_text()
    assert http_status(two_nodes, token) == 200

    def status() -> str:
        return two_nodes.inside("ray", "status", "--address", two_nodes.address).stdout

    until(lambda: "/1.0 CPU" in status(), status)  # Ray looks anew every five seconds
    jobs = two_nodes.inside("ray", "job", "list", "--address", two_nodes.url)
    assert jobs.returncode == 0, jobs.stderr


def test_without_the_token_all_is_refused(two_nodes: TwoNodes) -> None:
    assert http_status(two_nodes) == 401
    assert http_status(two_nodes, "not the token") == 403
    tls = {key: value for key, value in tls_variables(two_nodes).items() if value}
    jobs = two_nodes.run("ray", "job", "list", "--address", two_nodes.url, RAY_AUTH_TOKEN="", RAY_AUTH_TOKEN_PATH="")
    assert jobs.returncode != 0
    assert "Missing authentication token" in jobs.stdout + jobs.stderr
    status = two_nodes.run("ray", "status", "--address", two_nodes.address, **tls)
    assert status.returncode != 0
    assert "InvalidAuthToken" in status.stdout + status.stderr


def tls_variables(two: TwoNodes) -> dict[str, str]:
    folder = two.environment.get("JMED_TLS_DIR")
    files = {"SERVER_CERT": "node.crt", "SERVER_KEY": "node.key", "CA_CERT": "ca.crt"}
    return (
        {"RAY_USE_TLS": "1", **{f"RAY_TLS_{key}": f"{folder}/{file}" for key, file in files.items()}} if folder else {}
    )


def test_the_dashboard_is_on_this_machine_only(two_nodes: TwoNodes) -> None:
    with socket.create_connection(("127.0.0.1", two_nodes.dashboard), timeout=5):
        pass
    if two_nodes.ip.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((two_nodes.ip, two_nodes.dashboard), timeout=5)


def test_the_worker_carries_its_labels_and_the_head_computes_nothing(two_nodes: TwoNodes) -> None:
    done = two_nodes.inside("ray", "list", "nodes", "--address", two_nodes.url, "--detail", "--format", "json")
    head, worker = sorted(json.loads(done.stdout), key=lambda node: not node["is_head_node"])
    assert "CPU" not in head["resources_total"]
    assert worker["labels"]["jmed-gpu"] == "t4"
    assert worker["labels"]["jmed-batch-tokens"] == "2048"


def test_a_submitted_job_runs_on_the_worker(two_nodes: TwoNodes) -> None:
    code = "import ray; ray.init(); print('answer', ray.get(ray.remote(lambda: 6 * 7).remote()))"
    done = two_nodes.inside("ray", "job", "submit", "--address", two_nodes.url, "--", "python", "-c", code)
    assert "answer 42" in done.stdout, done.stdout + done.stderr


def speaks(two: TwoNodes, context: ssl.SSLContext | None) -> bool:
    """Whether Ray's main port answers the first bytes of a gRPC connection."""
    try:
        with socket.create_connection((two.ip, two.port), timeout=5) as plain:
            connection = context.wrap_socket(plain, server_hostname=two.ip) if context else plain
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            return connection.recv(9)[3:4] == b"\x04"  # a SETTINGS frame
    except OSError:
        return False


def test_with_tls_only_a_certificate_of_ours_gets_through(two_nodes: TwoNodes) -> None:
    folder = two_nodes.environment.get("JMED_TLS_DIR")
    if folder is None:
        assert speaks(two_nodes, None), "or this test would say nothing about TLS"
        return
    context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
    context.set_alpn_protocols(["h2"])
    assert not speaks(two_nodes, None)
    assert not speaks(two_nodes, context)
    context.load_cert_chain(f"{folder}/node.crt", f"{folder}/node.key")
    assert speaks(two_nodes, context)


@pytest.fixture
def metadata_service() -> Iterator[tuple[str, dict[str, Any]]]:
    """A cloud's metadata service (IMDSv2): its address, and what it says; `notice` is none at first."""
    said: dict[str, Any] = {"notice": None, "looks": 0}

    class Service(BaseHTTPRequestHandler):
        def answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_PUT(self) -> None:
            wanted = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            self.answer(200 if wanted else 400, "pass")

        def do_GET(self) -> None:
            said["looks"] += 1
            if self.headers["X-aws-ec2-metadata-token"] != "pass":
                self.answer(401, "")
            elif said["notice"] and self.path == "/latest/meta-data/spot/instance-action":
                self.answer(200, json.dumps(said["notice"]))
            else:
                self.answer(404, "")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", said
    server.shutdown()
    server.server_close()


def test_ray_is_told_that_the_cloud_takes_a_machine_back(two_nodes: TwoNodes, metadata_service: Any) -> None:
    """Last of the tests on these nodes: the worker is gone after it."""
    address, said = metadata_service
    (worker,) = [node for node in two_nodes.alive() if not node["is_head_node"]]
    script = str(ROOT / "cluster/cloud/preemption.sh")
    watch = subprocess.Popen(
        [script, "--head", two_nodes.address, "--node-id", worker["node_id"], "--seconds", "1"],
        cwd=ROOT, env={**two_nodes.environment, "JMED_METADATA": address}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until(lambda: said["looks"] >= 2, lambda: "the service was not asked twice")
        assert watch.poll() is None, "without a notice it goes on watching"
        end = datetime.now(UTC) + timedelta(seconds=100)
        said["notice"] = {"action": "terminate", "time": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        output, _ = watch.communicate(timeout=WAIT)
    finally:
        watch.kill()
    assert watch.returncode == 0, output
    assert "telling Ray" in output
    until(lambda: len(two_nodes.alive()) == 1, lambda: output)  # an idle node that is drained leaves at once


# What needs no cluster


@pytest.mark.parametrize("script", ["start-head.sh", "start-worker.sh", "with-env.sh"])
@pytest.mark.parametrize("fault", ["missing", "empty", "readable"])
def test_no_start_without_a_private_token(script: str, fault: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    if fault != "missing":
        token.write_text("" if fault == "empty" else "secret")
        token.chmod(0o644 if fault == "readable" else 0o600)
    arguments = {"start-worker.sh": ["--head", "127.0.0.1"], "with-env.sh": ["true"]}.get(script, [])
    done = subprocess.run(
        [ON_PREMISE / script, *arguments],
        env=environment(tmp_path), capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert str(token) in done.stderr
    assert ("chmod 600" if fault == "readable" else "make-token.sh") in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if fault == "missing" else ["token"])


def test_the_dashboard_cannot_be_moved(tmp_path: Path) -> None:
    command = [ON_PREMISE / "start-head.sh", "--", "--dashboard-host=10.0.0.1"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "127.0.0.1" in done.stderr


def test_a_token_is_private_and_never_replaced(tmp_path: Path) -> None:
    command = [ON_PREMISE / "make-token.sh", tmp_path / "new/token"]
    runs = [subprocess.run(command, capture_output=True, text=True, timeout=20, check=False) for _ in range(2)]
    assert [done.returncode for done in runs] == [0, 2]
    token = tmp_path / "new/token"
    assert len(token.read_text()) == 64
    assert token.stat().st_mode & 0o777 == 0o600
    assert "exists" in runs[1].stderr


def test_certificates_are_private_and_never_replaced(tmp_path: Path) -> None:
    script = ROOT / "cluster/tls/make-certificates.sh"

    def make(*machines: str) -> subprocess.CompletedProcess[str]:
        command = [script, tmp_path / "tls", *machines]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert make("a=10.0.0.1,10.0.1.1", "b=10.0.0.2").returncode == 0
    authority = (tmp_path / "tls/ca.crt").read_text()
    assert "exists" in make("b=10.0.0.9").stderr
    assert "expected NAME=ADDRESS" in make("gpu3").stderr
    assert make("c=10.0.0.3").returncode == 0
    assert (tmp_path / "tls/c/ca.crt").read_text() == authority
    assert all(key.stat().st_mode & 0o777 == 0o600 for key in (tmp_path / "tls").rglob("*.key"))
    shown = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "tls/a/node.crt", "-noout", "-ext", "subjectAltName"],
        capture_output=True, text=True, timeout=20, check=True,
    ).stdout  # fmt: skip
    for part in ("DNS:a", "IP Address:10.0.0.1", "IP Address:10.0.1.1", "IP Address:127.0.0.1"):
        assert part in shown
