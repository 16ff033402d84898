"""Ray itself: joining a cluster or starting a local one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import ray

LOCAL_OBJECT_STORE = 256 * 1024**2  # only prompts and short answers pass through it
# Ray calls workers in a thread, and glibc gives each thread memory of its own, which goes back to the system and is
# cleared anew at every layer (seen: a third of a batch's time on a CPU). One memory for all threads keeps it.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}


def connect() -> bool:
    """Join the cluster of a submitted job or RAY_ADDRESS; otherwise start a Ray of our own on this machine.

    False if the process was connected already: then somebody else disconnects it.

    Without an address Ray would look for a cluster that was once started here, and fail where it is gone.
    """
    if ray.is_initialized():
        return False
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": ENVIRONMENT})
    else:
        os.environ.update(ENVIRONMENT)  # all of that Ray inherits it; a runtime_env takes two seconds more
        ray.init(
            address="local",
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False,
            object_store_memory=LOCAL_OBJECT_STORE,
        )
    return True


@contextmanager
def native_log(path: Path, leave: bool = False) -> Iterator[None]:
    """Send what Ray writes to a file: its C++ code on standard error, and its errors of the cluster, which its Python
    code prints on `sys.stdout` (jmed prints nothing there meanwhile). `sys.stderr` goes on as before.

    Neither has a switch or a level that a driver could set (also with `log_to_driver=False`): a machine that is lost
    would stand between the lines that are meant for the user. `leave`: disconnect from Ray at the end, before what it
    prints is seen again.
    """
    sys.stderr.flush()
    python_side, kept = sys.stderr, os.dup(2)
    with path.open("ab") as log, os.fdopen(os.dup(2), "w", buffering=1) as stream:
        os.dup2(log.fileno(), 2)
        sys.stderr = stream
        try:
            with path.open("a", encoding="utf-8", buffering=1) as prints, redirect_stdout(prints):
                try:
                    yield
                finally:
                    if leave:
                        ray.shutdown()
        finally:
            sys.stderr = python_side
            os.dup2(kept, 2)
            os.close(kept)
