"""`python -m jmed.report RUN …`: the scores of several runs of evaluate or score in one table."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jmed.errors import UserError
from jmed.report.terminal import print_side_by_side
from jmed.untrusted import message


def main() -> int:
    """Exit status: 0 done, 2 the user can mend it."""
    parser = argparse.ArgumentParser(prog="python -m jmed.report", description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folder of evaluate or score")
    try:
        print_side_by_side([(run.name, _read(run)) for run in parser.parse_args().runs])
    except UserError as error:
        print(f"jmed.report: {message(str(error))}", file=sys.stderr)
        return 2
    return 0


def _read(run: Path) -> dict[str, Any]:
    file = run / "results.json"
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{run}: holds no results.json; give the output_dir of a finished evaluate or score") from None
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error}); run its job again in another folder") from None


if __name__ == "__main__":
    sys.exit(main())
