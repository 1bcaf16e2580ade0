"""The federation on this machine: folders and processes."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agents.home import Home
from cli.connect import quiet_logs
from cli.demo.cast import Hospital
from cli.demo.clone import REFERENCE
from cli.demo.federation import free_port
from cli.demo.setting import Setting, wait_for_answers
from cli.demo.stage import Stage
from flows.server.databases import ensure_prefect_database


class OnThisMachine:
    """Cubes are folders, sites are folders, agents are processes that share one PostgreSQL."""

    where = "on this machine"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Processes end with the federation."""

    def prepare(self, stage: Stage) -> None:
        """Everything is there."""

    def cube(self, name: str) -> Path:
        return REFERENCE / name

    def raise_registry(self, stage: Stage, setting: Setting) -> None:
        data = setting.folder / "registry"
        administrator = setting.administrator
        port, prefect_port = free_port(), free_port()
        setting.registry_url = f"http://127.0.0.1:{port}"
        setting.registry_prefect = f"http://127.0.0.1:{prefect_port}"
        words = ["registry", "init", "--data", str(data), "--administrator", administrator.email]
        made = stage.play_for_data(
            administrator, *words, "--name", administrator.name, "--organization", "federation", "--title", "Federation"
        )
        administrator.environment.update(ASSAY_REGISTRY_URL=setting.registry_url, ASSAY_TOKEN=made["token"])
        with quiet_logs():
            ensure_prefect_database(setting.postgres_url, "prefect_registry")
        setting.federation.start(
            "registry",
            *("registry", "start", "--data", str(data), "--port", str(port), "--prefect-port", str(prefect_port)),
            ASSAY_REGISTRY_PREFECT_DATABASE_URL=setting.postgres_url,
        )

    def wait_for_registry(self, stage: Stage, setting: Setting) -> None:
        wait_for_answers(stage, setting, "the registry starts")

    def open_site(self, stage: Stage, setting: Setting, hospital: Hospital, token: str) -> None:
        for person in (hospital.operator, hospital.owner):
            person.environment.update(ASSAY_SITE_HOME=str(hospital.home))
        stage.play(
            hospital.operator,
            *("agent", "init", "--registry", setting.registry_url, "--site", hospital.name),
            *(
                "--set",
                "poll_s=1",
                "--set",
                "heartbeat_s=10",
                "--set",
                f'prefect_database_url="{setting.postgres_url}"',
            ),
            typed=token + "\n",
        )
        environment = {"ASSAY_SITE_HOME": str(hospital.home), "ASSAY_ENVIRONMENTS": str(setting.environments)}
        setting.federation.start(hospital.name, "agent", "start", **environment)

    def wait_for_site(self, stage: Stage, setting: Setting, hospital: Hospital) -> None:
        """Whoever may use the folder can type: at once."""

    def has_heard(self, hospital: Hospital, benchmark: str) -> bool:
        heard = Home(hospital.home).work_file
        return heard.exists() and f'"{benchmark}"' in heard.read_text(encoding="utf-8")

    def images(self) -> dict[str, Any]:
        return {}

    def pages(self, setting: Setting, hospital: Hospital) -> str:  # noqa: ARG002 - a site in a cluster needs it
        return Home(hospital.home).prefect_url_file.read_text(encoding="utf-8").strip().removesuffix("/api")
