"""What every job's main program does: read the configuration, run, turn the outcome into an exit status."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jmed.configuration.command import parse
from jmed.configuration.schema import JobConfig
from jmed.errors import UserError
from jmed.storage.names import with_urls
from jmed.untrusted import message

Config = TypeVar("Config", bound=JobConfig)


def run_job(program: str, model: type[Config], work: Callable[[Config], None]) -> int:
    """0: done; 2: the user can mend it, and one message says how. Anything else is a traceback and 1."""
    try:
        config = parse(model, program)
        _refuse_lost_output(config.output_dir)
        work(config)
    except UserError as error:
        print(f"{program}: {message(with_urls(str(error)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: stopped; the same command continues", file=sys.stderr)
        return 1
    return 0


def _refuse_lost_output(output_dir: str) -> None:
    """A submitted job runs in a copy of the folder that goes away with it: results must not be written there."""
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") and not Path(output_dir).expanduser().is_absolute():
        raise UserError(
            f"output_dir: {output_dir} is relative, and a submitted job runs in a temporary copy of your folder, "
            "so the results would be lost; give an absolute path that all machines see"
        )
