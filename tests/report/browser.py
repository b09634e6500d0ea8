"""A headless Chromium to test pages with."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.ui import WebDriverWait


class Browser:
    """One window, 1280 pixels wide."""

    def __init__(self) -> None:
        options = ChromeOptions()
        for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1280,900"):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = Chrome(options, Service(shutil.which("chromedriver")))

    def quit(self) -> None:
        self.driver.quit()

    def open(self, page: Path) -> None:
        """Open a file with empty logs."""
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page.as_uri())

    def documents(self, position: int = 0) -> None:
        """Scroll to the documents of a task and wait for them."""
        self.run("document.querySelectorAll('.documents')[arguments[0]].scrollIntoView()", position)
        self.until(
            "document.querySelectorAll('.documents')[arguments[0]].querySelector('.found')",
            position,
        )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: str, *arguments: Any) -> None:
        WebDriverWait(self.driver, 20).until(lambda _: self.run(f"return {condition}", *arguments))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of elements, visible or not."""
        # as JSON: WebDriver cannot transfer lone surrogates
        script = "[...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        texts: list[str] = json.loads(self.run(f"return JSON.stringify({script})", selector))
        return texts

    def choose(self, label: str, option: str) -> None:
        """Choose an option of the control with this label."""
        for each in self.all(".panel label"):
            if each.text.splitlines()[0] == label:
                return Select(each.find_element(By.TAG_NAME, "select")).select_by_visible_text(
                    option
                )
        raise AssertionError(f"no control {label!r}")

    def search(self, text: str) -> None:
        """Type into the search box and wait for the result."""
        (box,) = self.all("input[type=search]")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(text or Keys.DELETE)
        self.run("window.before = document.querySelector('.found').firstChild")
        # every search replaces the status
        self.until("document.querySelector('.found').firstChild !== window.before")

    def requests(self) -> list[str]:
        """Return the URLs requested since the page was opened."""
        messages = [
            json.loads(each["message"])["message"] for each in self.driver.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def console(self) -> list[str]:
        return [each["message"] for each in self.driver.get_log("browser")]

    def foreign_code(self) -> list[str]:
        """Return what ran, or could run, and is not the page's own script."""
        found: list[str] = self.run(
            """
            const found = window.hacked === undefined ? [] : [`hacked: ${window.hacked}`];
            for (const node of document.querySelectorAll("*")) {
              for (const { name, value } of node.attributes) {
                const link = /^(href|src|srcset|action|formaction|data)$/.test(name);
                const own = /^(#|data:image\\/svg\\+xml;base64,)/.test(value);
                if (name.startsWith("on") || name === "srcdoc" || (link && !own)) {
                  found.push(`${node.nodeName} ${name}=${value}`);
                }
              }
            }
            const strange = "iframe, object, embed, base, link, form, script:not([type]) ~ script";
            return found.concat([...document.querySelectorAll(strange)].map((n) => n.outerHTML));
            """
        )
        return found

    def media(self, **features: str) -> None:
        """Emulate media features, such as ``prefers_color_scheme="dark"``."""
        given = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": given})

    def screen(self, width: int, height: int = 800) -> None:
        """Emulate a screen size until the next page is opened."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def pdf(self) -> bytes:
        printed = self.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
        return base64.b64decode(printed["data"])
