"""The story: the whole workflow of a federated benchmark, from a committee's idea to a published leaderboard."""

from functools import partial
from typing import Any, Final

from cli.demo.cast import Actor, Hospital
from cli.demo.clone import REFERENCE
from cli.demo.decide import Decider
from cli.demo.setting import Setting, admit, open_site, welcome
from cli.demo.stage import Stage

BENCHMARK: Final = "breast-fna"
MODELS: Final = {
    "model-lab-one": ("logistic_regression", "random_forest", "gradient_boosting"),
    "model-lab-two": ("k_nearest_neighbours", "small_mlp"),
}
"""Organization to the folders of the models that it owns."""
WITHHELD: Final = "k-nearest-neighbours"
"""The last hospital keeps this model's result: what is withheld stays."""


class Story:
    """Plays the workflow, phase by phase, on a stage that is set."""

    def __init__(self, stage: Stage, setting: Setting, decider: Decider) -> None:
        self._stage, self._setting, self._decider = stage, setting, decider
        self._models = {model.replace("_", "-"): owner for owner, models in MODELS.items() for model in models}

    def admit_everybody(self) -> None:
        setting = self._setting
        hospitals = {h.name: (h.title, [h.owner]) for h in setting.hospitals}
        labs = {name: (name.replace("-", " ").title(), [owner]) for name, owner in setting.model_owners.items()}
        committee = {"committee": ("Benchmark committee", [setting.chair, setting.member])}
        admit(self._stage, setting, {**committee, **labs, **hospitals})

    def open_sites(self) -> None:
        for hospital in self._setting.hospitals:
            open_site(self._stage, self._setting, hospital)

    def welcome_people(self) -> None:
        for hospital in self._setting.hospitals:
            welcome(self._stage, self._setting, hospital)

    def define_the_benchmark(self) -> None:
        """The committee registers its cubes and the specification; the platform administrator decides."""
        chair, member = self._setting.chair, self._setting.member
        cube = ("cube", "register")
        for part in ("preparator", "metrics"):
            self._stage.play(chair, *cube, str(self._setting.ground.cube(part)), "--name", f"fna-{part}")
        self._stage.play(
            chair,
            *("benchmark", "register", str(REFERENCE / "benchmark.yaml"), "--preparator", "fna-preparator"),
            *("--metrics", "fna-metrics", "--demo-dataset", str(REFERENCE / "demo_dataset")),
        )
        self._stage.play(chair, "benchmark", "committee", "add", BENCHMARK, member.email)
        self._stage.play(chair, "benchmark", "submit", BENCHMARK)
        self._decider.decide(self._setting.administrator, BENCHMARK, "the specification is complete", show=True)
        self._wait_for_state(chair, "benchmark", BENCHMARK, "approved")

    def bring_models(self) -> None:
        """Each lab registers its models and tries them on the public demo data."""
        for owner, models in MODELS.items():
            person = self._setting.model_owners[owner]
            for model in models:
                name = model.replace("_", "-")
                files = str(REFERENCE / "models" / model / "additional_files")
                program = str(self._setting.ground.cube("models/sklearn"))
                self._stage.play(person, "cube", "register", program, "--name", f"{name}-cube", "--files", files)
                card = str(REFERENCE / "cards" / f"{model}.yaml")
                self._stage.play(person, "model", "register", card, "--cube", f"{name}-cube")
        self._stage.tell("Both labs check their models on the benchmark's public demo data, on their own machines.")
        self._stage.play_together(
            [
                (person, ("model", "check", *self._of(owner), "--benchmark", BENCHMARK, "--reports", self._reports()))
                for owner, person in self._setting.model_owners.items()
            ]
        )

    def associate_models(self) -> None:
        """The labs ask; the committee decides about each."""
        for name, owner in self._models.items():
            report = f"{self._reports()}/{name}.{BENCHMARK}.compatibility.json"
            person = self._setting.model_owners[owner]
            words = ("association", "request", name, "--benchmark", BENCHMARK, "--compatibility", report)
            self._stage.play(person, *words)
        for number, name in enumerate(self._models):
            self._decider.decide(self._setting.member, name, "passed the compatibility check", show=number == 0)
        self._wait_for_associations(len(self._models))

    def prepare_datasets(self) -> None:
        """Three hospitals side by side; each data owner decides whether digests and statistics may leave."""
        for hospital in self._setting.hospitals:
            self._wait_for_offer(hospital)
            self._stage.play(
                hospital.operator,
                *("dataset", "prepare", _dataset(hospital), "--benchmark", BENCHMARK, "--title", hospital.title),
                *("--data", str(hospital.raw / "data"), "--labels", str(hospital.raw / "labels")),
            )
        for number, hospital in enumerate(self._setting.hospitals):
            question, reason = f"Register dataset {_dataset(hospital)}", "aggregates only, no small groups"
            self._decider.decide(hospital.owner, question, reason, show=number == 0)
        for hospital in self._setting.hospitals:
            self._stage.wait(f"{hospital.title} registers its dataset", partial(self._is_registered, hospital))

    def associate_datasets(self) -> None:
        """The hospitals ask that their datasets join; the committee decides."""
        for hospital in self._setting.hospitals:
            words = ("association", "request", _dataset(hospital), "--benchmark", BENCHMARK)
            self._stage.play(hospital.owner, *words)
        for hospital in self._setting.hospitals:
            self._decider.decide(self._setting.chair, _dataset(hospital), "the statistics fit the inclusion criteria")
        self._wait_for_associations(len(self._models) + len(self._setting.hospitals))

    def run_models(self) -> None:
        """Agents ask for what is outstanding; a data owner lets it run; then everything runs, isolated."""
        for number, hospital in enumerate(self._setting.hospitals):
            question, reason = f"Run these models on dataset {_dataset(hospital)}", "models and digests reviewed"
            self._decider.decide(hospital.owner, question, reason, show=number == 0)
        self._stage.wait("models run at three hospitals:", self._all_ran, progress=self._progress)
        for hospital in self._setting.hospitals:
            self._stage.play(hospital.operator, "execution", "list", show=True)

    def release_results(self) -> None:
        """Each data owner looks at each number; one keeps one back."""
        for number, hospital in enumerate(self._setting.hospitals):
            last = hospital is self._setting.hospitals[-1]
            self._decider.decide(
                hospital.owner,
                f"Send these results of dataset {_dataset(hospital)}",
                "one result is kept back: under internal review" if last else "numbers reviewed",
                withhold=[WITHHELD] if last else [],
                show=number == 0,
            )
        expected = len(self._models) * len(self._setting.hospitals) - 1
        self._stage.wait("results arrive at the registry", lambda: self._results() == expected)

    def publish(self) -> None:
        """One member of the committee asks, another decides; then everybody can read the leaderboard."""
        self._stage.play(self._setting.chair, "benchmark", "release", BENCHMARK)
        self._decider.decide(self._setting.member, "Release the leaderboard", "all sites have reported", show=True)
        reader = self._setting.hospitals[0].owner
        self._stage.wait("the leaderboard is released", lambda: self._released(reader))
        self._stage.play(reader, "benchmark", "leaderboard", BENCHMARK, "--released", show=True)

    def prove(self) -> None:
        """What left each hospital, who allowed it; and that nobody rewrote history."""
        for hospital in self._setting.hospitals:
            self._stage.play(hospital.owner, "departures", "--decided", show=True)
        self._stage.play(self._setting.hospitals[0].owner, "audit", "verify", show=True)

    def _of(self, owner: str) -> list[str]:
        return [name for name, whose in self._models.items() if whose == owner]

    def _reports(self) -> str:
        return str(self._setting.folder / "reports")

    def _wait_for_state(self, person: Actor, noun: str, name: str, state: str) -> None:
        self._stage.wait(f"{name} is {state}", lambda: self._stage.ask(person, noun, "show", name)["state"] == state)

    def _wait_for_associations(self, wanted: int) -> None:
        """Until the reviews have concluded what was decided."""

        def approved() -> bool:
            found = self._stage.ask(self._setting.chair, "association", "list")
            return [association["state"] for association in found].count("approved") == wanted

        self._stage.wait("reviews conclude", approved)

    def _wait_for_offer(self, hospital: Hospital) -> None:
        """Until the agent has heard of the benchmark."""
        self._stage.wait(f"the agent of {hospital.title} starts", lambda: self._offered(hospital))

    def _offered(self, hospital: Hospital) -> bool:
        self._setting.federation.require_alive()
        return self._setting.ground.has_heard(hospital, BENCHMARK)

    def _is_registered(self, hospital: Hospital) -> bool:
        self._setting.federation.require_alive()
        state = self._stage.ask(hospital.owner, "dataset", "show", _dataset(hospital), "--site")["state"]
        return bool(state == "registered")

    def _jobs(self) -> list[dict[str, Any]]:
        self._setting.federation.require_alive()
        everything = [self._stage.ask(h.operator, "job", "list") for h in self._setting.hospitals]
        return [job for jobs in everything for job in jobs if job["kind"] == "evaluate"]

    def _all_ran(self) -> bool:
        return all(job["finished_at"] is not None for job in self._jobs())

    def _progress(self) -> str:
        progress = [job["progress"] for job in self._jobs()]
        done, total = (sum(item.get(key, 0) for item in progress) for key in ("done", "total"))
        return f"{done} of {total} executions"

    def _results(self) -> int:
        self._setting.federation.require_alive()
        return len(self._stage.ask(self._setting.chair, "result", "list", "--registry"))

    def _released(self, reader: Actor) -> bool:
        return self._stage.succeeds(reader, "benchmark", "leaderboard", BENCHMARK, "--released", "--json")


def _dataset(hospital: Hospital) -> str:
    return f"{BENCHMARK}-{hospital.name}"
