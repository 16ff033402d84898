"""Every command in README.md and README.ja.md is run, as it stands, in a folder laid out as the README supposes.

What is changed, and why: evaluations get `--limit 2 --max_new_tokens 8` and Ray's address, so that they end in seconds,
and trainings two steps instead of their epochs;
the paper's templates and the benchmark files are the real ones beside the project.
What is submitted to a cluster is run in `clusters/test_submit.py`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.jobs.conftest import LocalRay

READMES = ("README.md", "README.ja.md")
SHORT = "--limit 2 --max_new_tokens 8"


def commands(readme: str) -> list[str]:
    """The bash blocks of a README, in order."""
    return re.findall(r"^```bash\n(.*?)^```", (ROOT / readme).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def without_comments(block: str) -> str:
    """A block's commands; the words of comments and of data differ between the languages."""
    return re.sub(r"\s+#.*", "", block)


def shortened(block: str) -> str:
    """Evaluations ask two questions only, trainings take two steps; every other command stays."""
    block = re.sub(r"--epochs \d+", "--steps 2 --global_batch_size 4 --evaluate.limit 2", block)
    return re.sub(r"(jobs/evaluate\.py(?! --help))", rf"\1 {SHORT}", block)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data_root: Path, paper_prompts: Path, tiny_model: Path) -> Path:
    """What the README supposes: the repository with data, models and templates in it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("readme")
    for name in ("jobs", "configs", "jmed"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "data").symlink_to(data_root)
    (folder / "templates").mkdir()
    (folder / "templates" / "paper.yaml").symlink_to(paper_prompts)
    (folder / "models").mkdir()
    (folder / "models" / "my-model").symlink_to(tiny_model)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapter = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapter.save_pretrained(folder / "models" / "my-adapter")
    subprocess.run([sys.executable, "-m", "jmed.models.tiny", "--output_dir", "runs/demo/tiny"], cwd=folder, check=True)
    return folder


def test_both_languages_give_the_same_commands() -> None:
    english, japanese = ([without_comments(block) for block in commands(readme)] for readme in READMES)
    assert english == japanese
    assert len(english) >= 8


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(commands("README.md")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


COMMANDS = {n: block for n, block in enumerate(commands("README.md")) if not re.search("make |job submit", block)}


@pytest.mark.parametrize("number", COMMANDS)
def test_commands_run(number: int, folder: Path, local_ray: LocalRay) -> None:
    block = shortened(COMMANDS[number])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder, env={**os.environ, "RAY_ADDRESS": local_ray.address}, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    if "score.py" in block:
        assert "382/499" in done.stdout
