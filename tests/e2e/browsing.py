"""Somebody's browser, for tests that look at pages as people see them.

Pictures of each step lie in the test's folder, and in the folder that `ASSAY_SCREENS` names.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Error, Locator, Page, expect

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
MARKS: Final = [
    pytest.mark.browser,
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this host: apt install chromium"),
    pytest.mark.timeout(600),
    # Prefect's client leaves sockets of its event streams to the collector; the provider for tests imports what is deprecated.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:authlib.jose module is deprecated"),
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),
]
ACTION_MS: Final = 30_000
"""For one action on a page that is there."""
ARRIVE_MS: Final = 60_000
"""For Prefect's pages to come up: megabytes of script on a busy host."""
SCREENS: Final = "ASSAY_SCREENS"
_STYLED: Final = "[...document.querySelectorAll('link[rel=stylesheet]')].every(link => link.sheet)"


class Visitor:
    """Somebody's browser; whatever of a stranger runs in it is noticed."""

    def __init__(self, chromium: Browser, url: str, folder: Path, *, width: int = 1280, height: int = 900) -> None:
        self.url, self._folder = url, folder
        self._context: BrowserContext = chromium.new_context(viewport={"width": width, "height": height})
        self._context.set_default_timeout(ACTION_MS)
        self.page: Page = self._context.new_page()
        self.answered: list[str] = []
        self.said: list[Dialog] = []
        self.page.on("response", lambda response: self.answered.append(response.url))
        self.page.on("dialog", self._close)

    def go(self, path: str) -> None:
        # Prefect's pages are never done loading for a browser that waits for the last picture.
        self.page.goto(self.url + path, wait_until="domcontentloaded", timeout=ARRIVE_MS)

    def arrive(self, path: str, there: Locator) -> None:
        """Open a page until something is seen there: a browser breaks off what it loads when the host's networks change."""
        for last in (False, False, True):
            try:
                self.go(path)
                expect(there.first).to_be_visible(timeout=ARRIVE_MS)
            except (AssertionError, Error):
                if last:
                    raise
            else:
                return

    def sign_in(self, email: str, password: str) -> None:
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password or personal token").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def picture(self, name: str, *, whole: bool = True) -> None:
        end = time.monotonic() + ARRIVE_MS / 1000
        # Asked from outside each time: a page of ours lets nobody evaluate texts in it, a browser's driver included.
        while not self.page.evaluate(_STYLED):
            assert time.monotonic() < end, "the page's styles did not come"
            self.page.wait_for_timeout(100)
        elsewhere = os.environ.get(SCREENS)
        for folder in [self._folder, *([Path(elsewhere)] if elsewhere else [])]:
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}.png", full_page=whole, timeout=ARRIVE_MS)

    def open_run(self, run: str, state: str) -> None:
        """Prefect's own page of a flow run, once it says what state the run is in."""
        self.arrive(f"/v2/runs/flow-run/{run}", self.page.get_by_text(state, exact=True))

    def resume_form(self) -> Locator:
        """Prefect's form, opened from a run's menu."""
        self.page.get_by_role("button", name="Open menu").click()
        self.page.get_by_role("menuitem", name="Resume").click()
        form = self.page.get_by_role("dialog")
        form.wait_for()
        return form

    def decide(self, verdict: str, reason: str) -> None:
        """Our own form."""
        self.page.get_by_text(verdict, exact=True).click()
        self.page.get_by_label("Why").fill(reason)
        self.page.get_by_role("button", name="Record my decision").click()

    def unharmed(self) -> bool:
        """Whether no script but the server's own ran, and nothing was loaded from elsewhere."""
        return self.page.evaluate("window.hit") is None and not self.said

    def leave(self) -> None:
        self._context.close()

    def _close(self, dialog: Dialog) -> None:
        self.said.append(dialog)
        dialog.dismiss()
