"""A real Chromium, driven by Selenium; skipped, with the reason, where there is none."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=en",
)  # fmt: skip

PREFERENCES = {"profile.default_content_setting_values.automatic_downloads": 1}  # several, without asking


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    selenium = pytest.importorskip(
        "selenium", reason="needs selenium: pip install --constraint constraints.txt selenium"
    )
    assert selenium
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    downloads = tmp_path_factory.mktemp("downloads")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", "--window-size=1200,900"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", PREFERENCES | {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver, downloads)
    finally:
        driver.quit()


class Browser:
    """What the tests ask of the browser."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, page: Path) -> float:
        """Open a page; the seconds, by the browser's own clock, until its questions can be used."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri())
        self.wait("document.documentElement.dataset.ready")
        return self.run("return performance.getEntriesByName('ready')[0].startTime") / 1000

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script gives; `await` may stand in it."""
        return self.driver.execute_script(f"return (async (...given) => {{ {script} }})(...arguments)", *arguments)

    def wait(self, condition: str, seconds: int = 60) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, 0.05).until(lambda _: self.run(f"return {condition}"), condition)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def console(self) -> list[str]:
        """What the console said since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that was asked for since the page was opened."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def saved(self, button: str, name: str) -> str:
        """What a button saves under this name."""
        file = self.downloads / name
        file.unlink(missing_ok=True)
        self.run("document.querySelector(given[0]).click()", button)
        for _ in range(200):
            if file.exists() and file.stat().st_size:  # an empty file holds its place until all is written
                return file.read_bytes().decode("utf-8-sig")
            time.sleep(0.05)
        raise AssertionError(f"{name} was not saved")

    def resize(self, width: int) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
