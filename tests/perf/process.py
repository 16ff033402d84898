"""What is measured in a process of its own."""

import os
import subprocess
import sys

from tests.conftest import ROOT


def printed(module: str, *arguments: object) -> str:
    """The last line that `python -m MODULE ARGUMENTS` prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
