"""What Ray prints on its own goes to a file; what jmed prints does not."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PROGRAM = """
import os, sys, threading
from pathlib import Path
from jmed.distributed.progress import LiveLine
from jmed.distributed.session import native_log
line = LiveLine()
print("before")
with native_log(Path(sys.argv[1])):
    other = threading.Thread(target=lambda: print("(raylet) a node is lost"))
    other.start()
    other.join()
    os.write(2, b"C++ speaks\\n")
    print("ours", file=sys.stderr)
    line.show("1/2 questions")
print("after")
"""


def test_only_our_own_lines_reach_the_user(tmp_path: Path) -> None:
    log = tmp_path / "ray.log"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(log)],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert done.stdout == "before\nafter\n"
    assert done.stderr == "ours\n1/2 questions\n"
    assert sorted(log.read_text("utf-8").splitlines()) == ["(raylet) a node is lost", "C++ speaks"]
