"""Environments: made once, offline when cached, and nothing of a stranger's runs while they are made."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from agents.environments import EnvironmentCache, EnvironmentUnavailableError, locked_requirements

Lock = Callable[..., Path]
HASH = "--hash=sha256:" + "0" * 64
ELSEWHERE = "https://elsewhere.example"


def _wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """Write a wheel by hand; its sha256."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_record_hash(text)},{len(text.encode())}" for path, text in files.items()]
    target = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _record_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own settings: a folder of wheels, and no network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_FIND_LINKS", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return folder


@pytest.fixture
def lock(index: Path, tmp_path: Path) -> Lock:
    """A locked list of one package with these files."""

    def make(name: str = "greeting", **files: str) -> Path:
        digest = _wheel(index, name, files or {f"{name}/__init__.py": "WORD = 'hello'\n"})
        path = tmp_path / f"{name}.lock"
        path.write_text(f"# made by a test\n{name}==1.0 \\\n    --hash=sha256:{digest}\n    # via nobody\n")
        return path

    return make


@pytest.fixture
def cache(tmp_path: Path) -> EnvironmentCache:
    return EnvironmentCache(tmp_path / "environments")


def _get(environments: Path, requirements: Path) -> str:
    return str(EnvironmentCache(environments).get(requirements))


class TestGet:
    def test_packages_of_the_list_are_there(self, cache: EnvironmentCache, lock: Lock) -> None:
        folder = cache.get(lock())
        assert folder is not None
        ask = [str(folder / "bin/python"), "-c", "import greeting; print(greeting.WORD)"]
        assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "hello\n"

    def test_byte_code_is_compiled(self, cache: EnvironmentCache, lock: Lock) -> None:
        """The environment is read-only in a step: each import would compile again."""
        folder = cache.get(lock())
        assert folder is not None
        assert list(folder.rglob("greeting/__pycache__/__init__.*.pyc"))

    @pytest.mark.parametrize("text", [None, "", "# nothing\n\n"])
    def test_an_empty_list_needs_the_bare_interpreter(
        self, cache: EnvironmentCache, tmp_path: Path, text: str | None
    ) -> None:
        path = tmp_path / "empty.lock"
        path.write_text(text or "")
        assert cache.get(None if text is None else path) is None
        assert cache.list() == ()

    def test_what_is_cached_needs_no_index(self, cache: EnvironmentCache, lock: Lock, index: Path) -> None:
        requirements = lock()
        first = cache.get(requirements)
        for wheel in index.iterdir():
            wheel.unlink()
        assert cache.get(requirements) == first

    def test_order_and_comments_make_no_other_environment(
        self, cache: EnvironmentCache, lock: Lock, tmp_path: Path
    ) -> None:
        one, two = lock("one"), lock("two")
        (tmp_path / "a").write_text(one.read_text() + two.read_text())
        (tmp_path / "b").write_text("# another comment\n" + two.read_text() + one.read_text())
        assert cache.get(tmp_path / "a") == cache.get(tmp_path / "b")

    def test_other_packages_make_another(self, cache: EnvironmentCache, lock: Lock) -> None:
        assert cache.get(lock("one")) != cache.get(lock("two"))

    def test_progress_is_told(self, cache: EnvironmentCache, lock: Lock) -> None:
        said: list[str] = []
        cache.get(lock(), said.append)
        assert any("greeting==1.0" in line for line in said)
        assert said[-1] == "compiling"

    def test_two_processes_make_it_once(self, lock: Lock, tmp_path: Path) -> None:
        requirements, environments = lock(), tmp_path / "environments"
        with get_context("spawn").Pool(2) as pool:
            found = pool.starmap(_get, [(environments, requirements)] * 2)
        assert found[0] == found[1]
        assert len([path for path in environments.iterdir() if path.is_dir()]) == 1

    def test_what_a_crash_left_is_removed(self, cache: EnvironmentCache, lock: Lock, tmp_path: Path) -> None:
        requirements = lock()
        made = cache.get(requirements)
        assert made is not None
        half = made.with_name(f".{made.name}.half")
        made.rename(half)
        assert cache.get(requirements) == made
        assert not half.exists()
        assert [path.suffix for path in (tmp_path / "environments").iterdir() if path != made] == [".lock"]


class TestNothingOfAStrangersRuns:
    def test_not_a_path_file(self, cache: EnvironmentCache, lock: Lock, tmp_path: Path) -> None:
        """A `.pth` file runs whenever the environment's interpreter starts: it must not start here."""
        mark = tmp_path / "ran"
        requirements = lock(**{"evil.pth": f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n"})
        folder = cache.get(requirements)
        assert folder is not None
        assert not mark.exists()
        subprocess.run([str(folder / "bin/python"), "-c", ""], check=True)
        assert mark.exists(), "the test's own trap does not work"

    def test_not_a_build(self, cache: EnvironmentCache, index: Path, tmp_path: Path) -> None:
        mark = tmp_path / "ran"
        source = tmp_path / "evil-1.0"
        source.mkdir()
        (source / "setup.py").write_text(f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n")
        (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
        archive = index / "evil-1.0.tar.gz"
        subprocess.run(["/usr/bin/tar", "-C", str(tmp_path), "-czf", str(archive), "evil-1.0"], check=True)
        requirements = tmp_path / "evil.lock"
        requirements.write_text(f"evil==1.0 --hash=sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}\n")
        with pytest.raises(EnvironmentUnavailableError, match="evil"):
            cache.get(requirements)
        assert not mark.exists()


class TestRefuse:
    @pytest.mark.parametrize(
        "line",
        [
            "greeting==1.0",
            "greeting>=1.0 " + HASH,
            "greeting " + HASH,
            f"--index-url {ELSEWHERE}/simple",
            f"--extra-index-url={ELSEWHERE}/simple",
            "--find-links /etc",
            "-r /etc/passwd",
            "-c more.txt",
            "-e .",
            "./folder " + HASH,
            f"greeting @ {ELSEWHERE}/greeting.whl {HASH}",
            "greeting==1.0 " + HASH + f" --index-url {ELSEWHERE}",
            "greeting==1.0 ; python_version > '3' --find-links /etc " + HASH,
            "greeting==1.0 --hash=md5:" + "0" * 32,
        ],
    )
    def test_a_list_that_names_more_than_locked_packages(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "list").write_text(f"greeting==1.0 {HASH}\n{line}\n")
        with pytest.raises(EnvironmentUnavailableError, match="which is no name==version"):
            locked_requirements(tmp_path / "list")

    @pytest.mark.parametrize(
        "line",
        [
            "greeting==1.0 " + HASH,
            "Greeting_x.y[extra,more]==1.0.post1+local " + HASH + " " + HASH,
            "greeting==1.0 ; python_version >= '3.11' and sys_platform == 'linux' " + HASH,
            'greeting==1!2.0rc1 ; platform_machine != "s390x" ' + HASH,
            "greeting==1.0 \\\n    " + HASH + " \\\n    " + HASH + "  # via\n    # somebody",
        ],
    )
    def test_what_uv_writes_is_accepted(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "list").write_text(line + "\n")
        assert len(locked_requirements(tmp_path / "list")) == 1

    def test_the_reference_cubes_list_is_accepted(self) -> None:
        root = Path(__file__).parents[2]
        assert len(locked_requirements(root / "cubes/breast_fna/models/sklearn/requirements.lock")) > 3

    def test_a_list_that_is_too_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agents.environments.MAX_LIST_BYTES", 10)
        (tmp_path / "list").write_text("#" * 11)
        with pytest.raises(EnvironmentUnavailableError, match="larger than 10 bytes"):
            locked_requirements(tmp_path / "list")

    def test_a_list_that_is_not_there(self, cache: EnvironmentCache, tmp_path: Path) -> None:
        with pytest.raises(EnvironmentUnavailableError, match="'nowhere'"):
            cache.get(tmp_path / "nowhere")

    def test_another_file_than_was_locked(self, cache: EnvironmentCache, lock: Lock, index: Path) -> None:
        requirements = lock()
        _wheel(index, "greeting", {"greeting/__init__.py": "WORD = 'changed'\n"})
        with pytest.raises(EnvironmentUnavailableError, match=r"(?i)hash"):
            cache.get(requirements)
        assert cache.list() == ()

    def test_the_installers_last_words_are_passed_on(
        self, cache: EnvironmentCache, tmp_path: Path, index: Path
    ) -> None:
        (tmp_path / "list").write_text(f"nowhere-to-be-had==1.0 {HASH}\n")
        with pytest.raises(EnvironmentUnavailableError, match="nowhere-to-be-had"):
            cache.get(tmp_path / "list")
        assert list(index.iterdir()) == []
        assert [path.suffix for path in (tmp_path / "environments").iterdir()] == [".lock"]


class TestKeep:
    def test_what_is_cached_is_listed_and_removed(self, cache: EnvironmentCache, lock: Lock) -> None:
        one, two = cache.get(lock("one")), cache.get(lock("two"))
        assert one is not None
        assert two is not None
        assert {f"sha256:{one.name}", f"sha256:{two.name}"} == {entry.digest for entry in cache.list()}
        assert all(entry.size > 100 for entry in cache.list())
        cache.remove(f"sha256:{one.name}")
        assert [entry.digest for entry in cache.list()] == [f"sha256:{two.name}"]
        assert not one.exists()

    @pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "sha256:../..", "", "."])
    def test_what_is_not_cached_cannot_be_removed(self, cache: EnvironmentCache, digest: str) -> None:
        with pytest.raises(EnvironmentUnavailableError, match="no environment"):
            cache.remove(digest)


def test_the_agents_own_environment_is_not_used(
    cache: EnvironmentCache, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    before = sorted(Path(sys.prefix).iterdir())
    folder = cache.get(lock())
    assert folder is not None
    ask = [str(folder / "bin/python"), "-c", "import pydantic"]
    assert subprocess.run(ask, capture_output=True, check=False).returncode == 1
    assert sorted(Path(sys.prefix).iterdir()) == before
