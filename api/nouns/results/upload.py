"""How a result arrives: made by exactly what is registered, measured as the benchmark says, let go by a named person."""

from sqlmodel import Session, select

from api.access.acting import key
from api.core.errors import ConflictError, InvalidInputError
from api.nouns.associations.admission import metrics_problem
from api.nouns.executions.pairs import Pair, approved_pair
from api.nouns.results.tables import Result
from api.nouns.work.receiving import Receiving, check_decision, check_past
from api.schemas.border import NEEDS_DECISION, ApprovedResult, Isolation, PayloadKind
from cubes.digests import short, tag_non_finite
from cubes.metrics import MetricSchema


def take(receiving: Receiving, new: ApprovedResult) -> int:
    """Keep a result; the same numbers for the same score again are the same result.

    Returns:
        Its number.

    Raises:
        NotFoundError: no such benchmark, model or dataset of the site's.
        ConflictError: the pair is not approved, a digest is not the registered one, or other numbers are known already.
        InvalidInputError: a metric that is missing, unknown or out of range; no approval; a probe that contradicts itself.
    """
    check_decision(new.decision, NEEDS_DECISION[PayloadKind.RESULT])
    check_past("the result", new.finished_at)
    pair = approved_pair(receiving, benchmark_id=new.benchmark_id, model_id=new.model_id, dataset_id=new.dataset_id)
    _check_digests(pair, new)
    _check_numbers(pair, new)
    known = _known(receiving.act.session, new)
    if known is None:
        return _add(receiving, pair, new)
    if (known.metrics, known.cases) != (tag_non_finite(new.metrics), new.cases):
        raise ConflictError(
            f"result {known.id} has other numbers for the score {short(new.score)!r} of model {pair.model.name!r}"
            f" on dataset {pair.dataset.name!r}.",
            "A result does not change: a new metrics cube or a new dataset gives a new one.",
        )
    return key(known.id)


def _check_digests(pair: Pair, new: ApprovedResult) -> None:
    wanted = {
        "model": (new.model_digest, pair.cube.pack_digest),
        "metrics cube": (new.metrics_digest, pair.metrics_cube.pack_digest),
        "dataset": (new.dataset_root, pair.dataset.root),
        "execution": (new.execution, pair.execution),
        "score": (new.score, pair.score),
    }
    for what, (found, registered) in wanted.items():
        if found != registered:
            raise ConflictError(
                f"the result is of the {what} {short(found)!r}, registered is {short(registered)!r}.",
                "Run and measure what the registry asks for now.",
            )


def _check_numbers(pair: Pair, new: ApprovedResult) -> None:
    if problem := metrics_problem([MetricSchema.model_validate(m) for m in pair.benchmark.metrics], new.metrics):
        raise InvalidInputError(f"the result of model {pair.model.name!r}: {problem}.", "Correct the metrics cube.")
    if new.cases != pair.dataset.cases:
        raise ConflictError(
            f"the result counts {new.cases} cases, dataset {pair.dataset.name!r} has {pair.dataset.cases}.",
            "Evaluate all cases of the dataset.",
        )
    held = bool(new.probe.checks) and all(new.probe.checks.values())
    if new.probe.isolation == Isolation.ISOLATED and not held:
        raise InvalidInputError("the probe says 'isolated', its checks say otherwise.", "Start the agent again.")


def _known(session: Session, new: ApprovedResult) -> Result | None:
    query = select(Result).where(
        Result.score == new.score,
        Result.benchmark_id == new.benchmark_id,
        Result.model_id == new.model_id,
        Result.dataset_id == new.dataset_id,
    )
    return session.exec(query).first()


def _add(receiving: Receiving, pair: Pair, new: ApprovedResult) -> int:
    result = Result(
        **new.model_dump(exclude={"metrics", "probe", "decision"}),
        metrics_cube_id=key(pair.metrics_cube.id),
        metrics=tag_non_finite(new.metrics),
        isolation=new.probe.isolation,
        probe=new.probe.model_dump(mode="json"),
        decision=new.decision.model_dump(mode="json"),
    )
    receiving.act.session.add(result)
    receiving.act.session.flush()
    receiving.act.session.refresh(result)  # as the database keeps it: verification compares the two
    receiving.act.note(
        "result.received",
        f"result:{result.id}",
        model=pair.model.name,
        dataset=pair.dataset.name,
        **result.model_dump(mode="json", exclude={"id", "created_at"}),
    )
    return key(result.id)
