"""The faults. Each strikes once, at a random moment, and leaves a job behind that is running or has ended."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.runs import Difference, Run, pause
from tests.jobs.cluster import RAY

Fault = Callable[[Run, random.Random], bool]  # whether it struck
STALL_SECONDS = 6.0


def kill_worker(run: Run, dice: random.Random) -> bool:
    with suppress(psutil.NoSuchProcess, IndexError):
        dice.choice(run.workers()).kill()
        return True
    return False


def kill_driver(run: Run, dice: random.Random) -> bool:
    """The same command again follows."""
    run.kill()
    run.start()
    return True


def stop_driver(run: Run, dice: random.Random) -> bool:
    """SIGTERM: the job ends in order, says so, and goes on when it is started again."""
    assert run.process is not None
    run.process.send_signal(signal.SIGTERM)
    status = run.reap()
    if not run.finished and status not in (1, -signal.SIGTERM, 15):
        raise Difference(f"exit status {status} after SIGTERM: {run.tail()}")
    run.start()
    return status != 0


def stall_worker(run: Run, dice: random.Random) -> bool:
    """A worker stands still for some seconds, as when its network or disk does."""
    with suppress(psutil.NoSuchProcess, IndexError):
        pause(dice.choice(run.workers()), dice.uniform(1, STALL_SECONDS))
        return True
    return False


def lose_node(run: Run, dice: random.Random) -> bool:
    """A node's power goes; another node joins."""
    node = run.cluster.nodes.pop(dice.randrange(len(run.cluster.nodes)))
    node.kill()
    run.cluster.add_node()
    return True


def preempt_node(run: Run, dice: random.Random) -> bool:
    """A spot notice, then the node is gone; another joins."""
    number = dice.randrange(len(run.cluster.nodes))
    identity = run.cluster.nodes[number].identity
    run.cluster.run(
        RAY, "drain-node", "--address", run.cluster.address, "--node-id", identity, "--reason",
        "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "8",
    )  # fmt: skip
    run.wait_for_progress()
    run.cluster.nodes.pop(number).kill()
    run.cluster.add_node()
    return True


def lose_head(run: Run, dice: random.Random) -> bool:
    """Everything is gone; a new head at the same address, and the job is submitted again."""
    cluster, count = run.cluster, len(run.cluster.nodes)
    assert cluster.head is not None
    cluster.head.kill()
    for node in cluster.nodes:
        node.kill()
    cluster.nodes.clear()
    run.reap()
    cluster.start_head()
    for _ in range(count):
        cluster.add_node()
    run.start()
    return True


def second_job(run: Run, dice: random.Random) -> bool:
    """The same command while it runs: refused, and nothing is disturbed."""
    other = run.cluster.start_job(*run.command)
    _, errors = other.communicate(timeout=120)
    refused = other.returncode == 2 and "another job is writing" in errors
    if not refused and not run.finished:
        raise Difference(f"two jobs on one folder: exit status {other.returncode}: {errors[-1000:]}")
    return refused


def fill_disk(run: Run, dice: random.Random) -> bool:
    """The disk of the results is full: the job ends and says so; when there is room the same command goes on."""
    filler = run.output.parent / "filler"
    with suppress(OSError), filler.open("wb") as stream:
        while True:
            stream.write(b"\0" * 65536)
            stream.flush()
    status = run.reap()
    filler.unlink()
    if not run.finished and (status != 2 or "Make room" not in run.said):
        raise Difference(f"exit status {status} on a full disk: {run.tail()}")
    run.start()
    return status != 0


def stall_disk(run: Run, dice: random.Random) -> bool:
    """The disk of the results answers nobody for some seconds."""
    mount = str(run.output.parent)
    if subprocess.run(["fsfreeze", "--freeze", mount], check=False).returncode == 0:
        try:
            time.sleep(dice.uniform(1, STALL_SECONDS))
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", mount], check=True)
        return True
    return False


EVERY: dict[str, Fault] = {
    "worker killed": kill_worker,
    "worker stands still": stall_worker,
    "driver killed": kill_driver,
    "driver asked to stop": stop_driver,
    "node lost": lose_node,
    "node preempted with notice": preempt_node,
    "head lost": lose_head,
    "second job on the folder": second_job,
    "disk full": fill_disk,
    "disk does not answer": stall_disk,
}
DRIVER = {"driver killed", "driver asked to stop", "second job on the folder", "disk full"}  # not when submitted
SUBMITTED = {"head lost"}  # only then
MOUNT = {"disk full", "disk does not answer"}  # need a disk of their own


def small_disk(folder: Path) -> Path | None:
    """A file system of 64 MiB that can be filled and frozen; None where it may not be mounted."""
    image, mount = folder / "disk.img", folder / "disk"
    mount.mkdir(parents=True)
    with image.open("wb") as stream:
        stream.truncate(64 * 1024**2)
    if not shutil.which("mkfs.ext4") or not shutil.which("fsfreeze"):
        return None
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], check=False, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=False, capture_output=True)
    return mount if made.returncode == mounted.returncode == 0 else None
