"""The house: who may import whom. Imports inside functions count too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What a package of jmed may import of jmed, itself included; data flows one way.
MAY_IMPORT = {
    "configuration": {"configuration", "storage", "errors", "untrusted"},
    "storage": {"storage", "runs", "errors"},
    "data": {"data", "storage", "errors", "spool", "untrusted"},
    "prompts": {"prompts", "data", "errors", "untrusted"},
    "scoring": {"scoring", "data"},
    "statistics": {"statistics"},
    "runs": {"runs", "errors", "untrusted"},
    "models": {"models", "configuration", "data", "storage", "runs", "errors", "offline", "untrusted"},
    "inference": {"inference", "models"},
    "report": {"report", "data", "scoring", "runs", "errors", "rows", "untrusted"},
    "evaluation": {
        "evaluation", "configuration", "data", "prompts", "models", "inference", "scoring", "statistics", "report",
        "storage", "runs", "errors", "rows", "spool",
    },
    "training": {
        "training", "configuration", "data", "prompts", "models", "inference", "evaluation", "statistics", "report",
        "runs", "errors",
    },
    "comparison": {
        "comparison", "configuration", "data", "scoring", "statistics", "report", "runs", "storage", "training",
        "errors", "untrusted",
    },
    "distributed": {
        "distributed", "training", "evaluation", "configuration", "data", "models", "inference", "report", "runs",
        "errors", "offline",
    },
}  # fmt: skip
HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "deepspeed", "ray"}
MAY_BE_HEAVY = {
    "models": HEAVY - {"ray", "deepspeed"},
    "inference": HEAVY - {"ray", "deepspeed"},
    "training": HEAVY - {"ray"},
    "distributed": HEAVY,
}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages() -> list[str]:
    return sorted(path.name for path in (ROOT / "jmed").iterdir() if (path / "__init__.py").is_file())


def test_every_package_has_its_place() -> None:
    assert packages() == sorted(MAY_IMPORT)


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_go_one_way(package: str) -> None:
    for file in sorted((ROOT / "jmed" / package).rglob("*.py")):
        for name in imports(file):
            top, *rest = name.split(".")
            if top in HEAVY:
                assert top in MAY_BE_HEAVY.get(package, set()), f"{file.relative_to(ROOT)} imports {top}"
            if top == "jmed" and rest and rest[0] != "__version__":
                assert rest[0] in MAY_IMPORT[package], f"{file.relative_to(ROOT)} imports {name}"
