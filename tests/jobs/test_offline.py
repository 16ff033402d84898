"""`offline: true`: whole jobs in a network namespace without any route, in which every attempt to leave is counted."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.jobs.conftest import job_command
from tests.jobs.test_bad_input import flags, jsonl

# As root, and as anybody else where the kernel lets users have namespaces of their own.
WAYS = (["unshare", "--net", "--mount"], ["unshare", "--map-root-user", "--net", "--mount"])
# Only loopback (Ray needs it). Names are looked up at an address that nobody has (RFC 5737), not at a server of this
# machine, which would ask for us; the kernel's counters tell afterwards what found no route.
INSIDE = """
set -e
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
ip link set lo up
mount --bind "$1/hosts" /etc/hosts
if grep -q metadata "$1/hosts"; then ip route add local 169.254.169.254/32 dev lo; fi
counters=$1/counters
shift
set +e
"$@"
status=$?
cat /proc/net/snmp /proc/net/snmp6 > "$counters"
exit $status
"""
NAMES = {
    "resolv.conf": "nameserver 203.0.113.53\noptions timeout:1 attempts:1\n",
    "nsswitch.conf": "hosts: files dns\n",
    # The last is what torch asks of every machine that trains with it: the name that belongs to its own address.
    "hosts": f"127.0.0.1 localhost {socket.gethostname()}\n::1 localhost\n::ffff:127.0.0.1 localhost\n",
}
# What Ray 2.60 asks to learn in which cloud it runs; answered at home, since nothing is sent there.
CLOUD = "127.0.0.1 metadata.google.internal\n"


@dataclass(frozen=True)
class Outcome:
    """A process that ran where nothing can be reached, and how often it (or a child of it) tried all the same."""

    done: subprocess.CompletedProcess[str]
    attempts: int


Isolated = Callable[..., Outcome]


def _attempts(counters: Path) -> int:
    """Packets and connections that found no route, of both versions of the protocol."""
    lines = counters.read_text("ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip: "))
    newer = dict(line.split() for line in lines if line.startswith("Ip6"))
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(newer.get("Ip6OutNoRoutes", 0))


def _enter(
    way: list[str], folder: Path, command: list[str], names: dict[str, str], **environment: str
) -> subprocess.CompletedProcess[str]:
    for name, content in names.items():
        (folder / name).write_text(content)
    return subprocess.run(
        [*way, "bash", "-c", INSIDE, "inside", str(folder), *command],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False, env={**_without_a_way_out(), **environment},
    )  # fmt: skip


def _without_a_way_out() -> dict[str, str]:
    """This machine's own proxies and switches would answer in the place of jmed's."""
    return {
        name: value for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("HF_", "TRANSFORMERS_"))
    }  # fmt: skip


@pytest.fixture(scope="module")
def way() -> list[str]:
    """How a namespace is entered here."""
    said = []
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = _enter(way, Path(folder), ["true"], NAMES)
            except FileNotFoundError as error:
                pytest.skip(f"the offline proof needs unshare and bash: {error}")
        if done.returncode == 0:
            return way
        said.append(done.stderr.strip())
    pytest.skip(f"the offline proof needs network namespaces and `ip`, which are not to be had here: {said[-1]}")


@pytest.fixture
def isolated(way: list[str]) -> Iterator[Isolated]:
    """Run a command in a namespace without any route; `cloud` answers Ray's question for the cloud at home."""
    with tempfile.TemporaryDirectory(prefix="jmed-") as name:  # short: Ray puts sockets there
        folder = Path(name)

        def run(command: list[str], cloud: bool = False) -> Outcome:
            names = {**NAMES, "hosts": NAMES["hosts"] + CLOUD * cloud}
            done = _enter(way, folder, command, names, RAY_ADDRESS="", RAY_TMPDIR=name, HF_HUB_CACHE=f"{name}/hub")
            return Outcome(done, _attempts(folder / "counters"))

        yield run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import socket, errno\n{code}"]


UNREACHABLE = """
with socket.socket(socket.{family}, socket.{kind}) as sender:
    try:
        sender.connect(({address!r}, 443))
    except OSError as error:
        assert error.errno == errno.ENETUNREACH, error
    else:
        raise AssertionError("there is a route")
"""


@pytest.mark.parametrize(
    ("family", "kind", "address"),
    [
        ("AF_INET", "SOCK_STREAM", "203.0.113.1"),
        ("AF_INET", "SOCK_DGRAM", "203.0.113.1"),
        ("AF_INET6", "SOCK_STREAM", "2001:db8::1"),
    ],
)
def test_there_is_no_route_and_an_attempt_is_counted(isolated: Isolated, family: str, kind: str, address: str) -> None:
    outcome = isolated(python(UNREACHABLE.format(family=family, kind=kind, address=address)))
    assert outcome.done.returncode == 0, outcome.done.stderr
    assert outcome.attempts > 0


def test_looking_up_a_name_is_counted_and_loopback_is_not(isolated: Isolated) -> None:
    lookup = 'try: socket.getaddrinfo("example.org", 443)\nexcept socket.gaierror: pass\nelse: raise SystemExit(1)'
    outcome = isolated(python(lookup))
    assert outcome.done.returncode == 0, outcome.done.stderr
    assert outcome.attempts > 0
    home = 'here = socket.create_server(("127.0.0.1", 0))\nsocket.create_connection(here.getsockname()).close()'
    outcome = isolated(python(home))
    assert outcome.done.returncode == 0, outcome.done.stderr
    assert outcome.attempts == 0


def evaluation(model: str | Path, output_dir: Path, **keys: Any) -> list[str]:
    keys = {"benchmarks": ["mini"], "method": "letters", "limit": 2, "workers__count": 1, **keys}
    return job_command("evaluate", *flags(model__path=model, output_dir=output_dir, **keys))


def test_a_job_that_wants_the_hub_is_noticed_and_offline_it_does_not_try(isolated: Isolated, tmp_path: Path) -> None:
    """The control: the same job, with and without the switch."""
    online = isolated(evaluation("nobody/nothing", tmp_path / "out"))
    assert online.done.returncode == 2
    assert "the hub cannot be reached" in online.done.stderr
    assert online.attempts > 0
    offline = isolated(evaluation("nobody/nothing", tmp_path / "out", offline="true"))
    assert offline.done.returncode == 2
    assert "offline is true and the local cache does not hold it" in offline.done.stderr
    assert offline.attempts == 0


@pytest.mark.parametrize("offline", [True, False])
def test_a_whole_evaluation_asks_nobody(isolated: Isolated, tiny_model: Path, tmp_path: Path, offline: bool) -> None:
    """Offline nothing is tried; without the switch a local model needs no network either, and no telemetry is sent."""
    command = evaluation(tiny_model, tmp_path / "out", offline=str(offline).lower())
    outcome = isolated(command, cloud=not offline)
    assert outcome.done.returncode == 0, outcome.done.stderr
    assert pq.read_table(tmp_path / "out" / "answers.parquet").num_rows == 4
    assert outcome.attempts == 0


@pytest.mark.parametrize("offline", [True, False])
def test_a_whole_training_asks_nobody(isolated: Isolated, tiny_model: Path, tmp_path: Path, offline: bool) -> None:
    data = jsonl(tmp_path / "data.jsonl", *({"instruction": f"Say {n}.", "output": f"{n}"} for n in range(8)))
    command = job_command(
        "finetune",
        *flags(
            model__path=tiny_model, output_dir=tmp_path / "out", stage="instruct", tuning="lora", steps=2,
            data=[{"path": str(data), "format": "alpaca", "language": "en"}], global_batch_size=2,
            workers__count=1, offline=str(offline).lower(),
        ),
    )  # fmt: skip
    outcome = isolated(command, cloud=not offline)
    assert outcome.done.returncode == 0, outcome.done.stderr
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "train_log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    assert outcome.attempts == 0
