"""What stands in every page: libraries as their authors built them, and scripts that make no HTML of text."""

import hashlib
import re

import pytest
import yaml

from jmed.report.rendering import LIBRARIES, SCRIPTS, own_script
from tests.conftest import ROOT

VENDOR = ROOT / "jmed/report/vendor"
LISTED = yaml.safe_load((VENDOR / "vendored.yaml").read_text("utf-8"))


def test_every_library_is_listed() -> None:
    assert {f"vendor/{name}" for name in LISTED} == set(LIBRARIES)
    assert set(LISTED) == {file.name for file in VENDOR.glob("*.js")}


@pytest.mark.parametrize("name", sorted(LISTED))
def test_a_library_is_what_its_authors_published(name: str) -> None:
    one, content = LISTED[name], (VENDOR / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == one["sha256"]
    assert f"v{one['version']}" in content[:200].decode()
    assert "Permission to use, copy, modify, and/or distribute" in (VENDOR / one["licence_file"]).read_text("utf-8")


def test_all_scripts_are_in_the_page_and_none_ends_it() -> None:
    assert {file.stem for file in (ROOT / "jmed/report/assets").glob("*.js")} == set(SCRIPTS)
    for text in (own_script(), *((VENDOR / name).read_text("utf-8") for name in LISTED)):
        assert not re.search(r"</script|<!--|\r", text, re.IGNORECASE)


def test_every_chart_has_a_name_of_its_own() -> None:
    names = re.findall(r"^charts\.(\w+) =", own_script(), re.MULTILINE)
    assert len(names) == len(set(names)) > 10


def test_no_script_reads_text_as_html_or_code() -> None:
    risky = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function|setTimeout\(\""
    )
    assert not re.search(risky, own_script())
