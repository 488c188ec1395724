"""Where the work is done: this machine's cores through joblib, or a Dask cluster, with the same results to the bit.

    with workers("dask", "tcp://10.0.0.5:8786") as at:
        scored = at.map(work, count, task_of, done)

A task carries all that it needs, so a worker that is lost takes no data with it: its tasks are done again elsewhere.
`distributed` is imported only where a cluster was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from trading.base.errors import UserError

Backend = Literal["joblib", "dask"]
BACKENDS: Final = ("joblib", "dask")

START: Final = "python -m dask worker ADDRESS --nworkers 2 --nthreads 1"
"""How a worker is started, in a clone of this project with the same requirements."""

PATIENCE: Final = 30
"""Seconds that the scheduler and its first worker are waited for."""

ROUNDS: Final = 4
"""How often in a row lost workers may bring everything to a halt before that is reported."""

Task = TypeVar("Task")
Result = TypeVar("Result")
Done = Callable[[int], None]


@dataclass(frozen=True)
class Workers:
    """Workers that tasks are handed to.

    Attributes:
        backend: which backend of joblib.
        jobs: processes on this machine; -1 for one a core.  A cluster has as many as it has.
        client: `distributed.Client` of the cluster; None on this machine.
    """

    backend: Backend = "joblib"
    jobs: int = -1
    client: Any = None

    def map(
        self,
        work: Callable[[Task], Result],
        count: int,
        task_of: Callable[[int], Task],
        done: Done = lambda finished: None,
    ) -> list[Result]:
        """`[work(task_of(0)), ..., work(task_of(count - 1))]`, in that order whichever is finished first.

        Args:
            work: a function at the top level of a module, so that a worker can import it.
            task_of: makes a task when its turn comes: only a few a worker are in memory at once.
            done: called with how many are finished.

        Raises:
            UserError: workers were lost again and again.  What `work` raises comes through.
        """
        found: dict[int, Result] = {}
        fruitless = 0
        while len(found) < count:
            before = len(found)
            try:
                self._round(work, [i for i in range(count) if i not in found], task_of, found, done)
            except _losses(self.backend) as loss:
                fruitless = 0 if len(found) > before else fruitless + 1
                if fruitless >= ROUNDS:
                    raise UserError(
                        f"--backend {self.backend}: its workers were lost {ROUNDS} times in a row "
                        f"({type(loss).__name__}); they may be out of memory: use fewer of them, or other machines"
                    ) from None
        return [found[i] for i in range(count)]

    def _round(
        self,
        work: Callable[[Task], Result],
        missing: list[int],
        task_of: Callable[[int], Task],
        found: dict[int, Result],
        done: Done,
    ) -> None:
        from joblib import Parallel, delayed

        with self.spread():
            parallel = Parallel(n_jobs=self.jobs, batch_size=1, return_as="generator_unordered")
            for i, result in parallel(delayed(_numbered)(work, i, task_of(i)) for i in missing):
                found[i] = result
                done(len(found))

    def spread(self) -> AbstractContextManager[Any]:
        """Within it, what scikit-learn fits through joblib (the trees of a forest) is spread over these workers."""
        if self.client is None:
            return nullcontext()
        from joblib import parallel_config

        return parallel_config(backend="dask", client=self.client)


ALONE: Final = Workers(jobs=1)
"""This process, one task after the other."""


def _numbered(work: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    """One task on a worker.  It is the unit of work: the trees of its forests are not spread any further."""
    from joblib import parallel_config

    with parallel_config(backend="sequential"):
        return number, work(task)


def _losses(backend: Backend) -> tuple[type[BaseException], ...]:
    """What is raised where a worker, not the work, failed."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    if backend == "joblib":
        return (BrokenProcessPool,)
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    return BrokenProcessPool, CancelledError, CommClosedError, FutureCancelledError, KilledWorker


@contextmanager
def workers(
    backend: Backend = "joblib", scheduler: str | None = None, *, patience: float = PATIENCE
) -> Iterator[Workers]:
    """The workers that `--backend` and `--scheduler` name.

    Raises:
        UserError: an address without the dask backend or the reverse, no scheduler or worker there, or workers that
            would not give the same results: other libraries, another version of this project, several threads each.
    """
    if backend == "joblib":
        if scheduler is not None:
            raise UserError(f"--scheduler {scheduler}: it is for --backend dask; name both or neither")
        yield Workers()
        return
    if scheduler is None:
        raise UserError("--backend dask: name the cluster too, as in --scheduler tcp://127.0.0.1:8786")
    client = _connected(scheduler, patience)
    try:
        _check_cluster(client, scheduler)
        yield Workers("dask", client=client)
    finally:
        client.close()


def _connected(scheduler: str, patience: float) -> Any:
    import logging

    import dask
    from distributed import Client

    # A task brings its rows with it on purpose: scattered data would be lost with the worker that holds it.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})
    logging.getLogger("distributed").setLevel(logging.ERROR)  # a lost worker is no news to the user: it is made up for
    try:
        client = Client(scheduler, timeout=patience, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error}); start one") from None
    try:
        client.wait_for_workers(1, timeout=patience)
    except TimeoutError:
        client.close()
        raise UserError(f"--scheduler {scheduler}: no worker came within {patience:g} s; start some: {START}") from None
    return client


def _check_cluster(client: Any, scheduler: str) -> None:
    """Refuse workers that would give other bits, or none."""
    try:
        there = client.run(identity)
    except ImportError as error:
        why = f"its workers do not find this project ({error}); start them in a clone of it: {START}"
        raise UserError(f"--scheduler {scheduler}: {why}") from None
    here = identity()
    for worker, theirs in there.items():
        for name, version in here.items():
            if theirs[name] != version:
                raise UserError(
                    f"--scheduler {scheduler}: worker {worker} has {name} {theirs[name]}, here is {version}; "
                    "the results would differ: give it the same requirements and the same version of this project"
                )
    for worker, threads in client.ncores().items():
        if threads != 1:
            # The threads of a process share the limit of the BLAS, and with it the order of its sums.
            raise UserError(f"--scheduler {scheduler}: worker {worker} has {threads} threads; start it so: {START}")


def identity() -> dict[str, str]:
    """What results depend on besides rows and settings: library versions, and this project's learning code."""
    from trading.models.checks import library_versions

    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        code.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return {**library_versions(), "code of trading/": code.hexdigest()[:12]}
