"""Whole processes as people start them: `assay ...` in an environment that names nobody, with all that it starts itself."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2

from cli.demo.federation import command
from cli.demo.shell import clean_environment

Until = Callable[..., None]
START_S: Final = 400.0
"""A server, its migrations and its imports, on cores that others use, too."""
PASSWORD: Final = "correct horse battery staple"


def typed(*words: str, stdin: str = "", **environment: str) -> str:
    """What a command says; it has to succeed."""
    done = subprocess.run(
        command(words),
        env={**clean_environment(), **environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Program:
    """A long-running `assay ...`; what it says goes to a file."""

    words: tuple[str, ...]
    log: Path
    until: Until
    environment: dict[str, str] = field(default_factory=dict)
    _running: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, ready: Callable[[], bool]) -> Iterator[None]:
        """As long as the block lasts; it has to come up, and to end in order when it is asked to, with all of its own."""
        self.start(ready)
        try:
            yield
        except BaseException:
            self.kill()
            raise
        family = self.family()
        assert self.stop() == 0, self.said()
        self.until(lambda: not any(map(_lives, family)), "all that it had started to end", limit_s=START_S)

    @contextmanager
    def killed(self, ready: Callable[[], bool]) -> Iterator[None]:
        """As long as the block lasts; then it is killed without a word."""
        self.start(ready)
        try:
            yield
        finally:
            self.kill()

    def start(self, ready: Callable[[], bool]) -> None:
        with self.log.open("ab") as log:
            environment = {**clean_environment(), **self.environment}
            self._running = subprocess.Popen(command(self.words), stdout=log, stderr=log, env=environment)
        try:
            self.until(lambda: self._process.poll() is not None or ready(), "it to come up", limit_s=START_S)
            assert self._process.poll() is None, self.said()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(START_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it without a word; what it has started finds out by itself."""
        self._process.kill()
        self._process.wait()

    def family(self) -> list["Life"]:
        """All processes that it has started, and those have started."""
        lives = list(_all_lives())
        found: list[Life] = []
        wanted = {self._process.pid}
        while children := [life for life in lives if life.parent in wanted]:
            found += children
            wanted = {life.pid for life in children}
        return found

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4_000:]

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._running is not None
        return self._running


@dataclass(frozen=True)
class Life:
    """A process; its number alone may soon be another's."""

    pid: int
    parent: int
    began: str
    words: str


def answers(url: str) -> bool:
    """Whether Prefect's server is there."""
    try:
        return httpx2.get(f"{url}/api/health", trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def browser(url: str, email: str, password: str = PASSWORD) -> httpx2.Client:
    """A browser in which somebody has signed in to pages."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
        answer = client.post("/sign-in", data={"email": email, "password": password, "next": "/waiting"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/waiting"), answer.text
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return httpx2.Client(base_url=url, headers={**headers, "Cookie": cookie}, trust_env=False, timeout=60)


def state_of(client: httpx2.Client, run: str | None) -> str:
    """What state a flow run is in, as somebody sees it."""
    return str(client.get(f"/api/flow_runs/{run}").raise_for_status().json()["state"]["type"])


def _all_lives() -> Iterator[Life]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if fields[0] != "Z":
                yield Life(int(folder.name), int(fields[1]), fields[19], words)


def _lives(life: Life) -> bool:
    return any((found.pid, found.began) == (life.pid, life.began) for found in _all_lives())
