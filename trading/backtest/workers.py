"""Parallel work: on this machine's cores through joblib, or on a Dask cluster, with the same results to the bit.

    with workers("dask", "tcp://10.0.0.5:8786") as at:
        results = at.map(work, count, task_of, done)

A task carries all its data, so no data is lost with a worker: its tasks are repeated elsewhere.  `distributed` is
imported only if a cluster is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from trading.base.errors import UserError
from trading.models.checks import library_versions

Backend = Literal["joblib", "dask"]
BACKENDS: Final = ("joblib", "dask")

START: Final = "python -m dask worker ADDRESS --nworkers 2 --nthreads 1"
"""Command that starts workers, in a clone of this project with the same requirements."""

CONNECT_TIMEOUT: Final = 30
"""Seconds to wait for the scheduler and for its first worker."""

ATTEMPTS: Final = 4
"""Consecutive attempts without a finished task, because of lost workers, before the work fails."""

Task = TypeVar("Task")
Result = TypeVar("Result")
Done = Callable[[int], None]


@dataclass(frozen=True)
class Workers:
    """A set of workers.

    Attributes:
        backend: the backend of joblib.
        jobs: processes on this machine; -1: one per core.  Not used with a cluster.
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
        """`[work(task_of(0)), ..., work(task_of(count - 1))]`, in this order whichever finishes first.

        Args:
            work: a function at the top level of a module, so that a worker can import it.
            task_of: makes a task when it is needed; only a few per worker are in memory at once.
            done: called with the number of finished tasks.

        Raises:
            UserError: workers were lost repeatedly.  Exceptions of `work` are passed on.
        """
        found: dict[int, Result] = {}
        fruitless = 0
        while len(found) < count:
            before = len(found)
            try:
                self._attempt(work, [i for i in range(count) if i not in found], task_of, found, done)
            except _losses(self.backend) as loss:
                fruitless = 0 if len(found) > before else fruitless + 1
                if fruitless >= ATTEMPTS:
                    raise UserError(
                        f"--backend {self.backend}: its workers were lost {ATTEMPTS} times in a row "
                        f"({type(loss).__name__}); they may be out of memory: use fewer of them, or other machines"
                    ) from None
        return [found[i] for i in range(count)]

    def _attempt(
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
        """A context in which what scikit-learn fits through joblib (the trees of a forest) runs on these workers."""
        if self.client is None:
            return nullcontext()
        from joblib import parallel_config

        context: AbstractContextManager[Any] = parallel_config(backend="dask", client=self.client)
        return context


ALONE: Final = Workers(jobs=1)
"""This process alone, one task after the other."""


def _numbered(work: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    """Run one task on a worker; the trees of its forests are fitted in that process."""
    from joblib import parallel_config

    with parallel_config(backend="sequential"):
        return number, work(task)


def _losses(backend: Backend) -> tuple[type[BaseException], ...]:
    """The exceptions that mean that a worker failed, not the work."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    if backend == "joblib":
        return (BrokenProcessPool,)
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    return BrokenProcessPool, CancelledError, CommClosedError, FutureCancelledError, KilledWorker


@contextmanager
def workers(
    backend: Backend = "joblib", scheduler: str | None = None, *, timeout: float = CONNECT_TIMEOUT
) -> Iterator[Workers]:
    """The workers that `--backend` and `--scheduler` name.

    Raises:
        UserError: an address without the dask backend or the reverse, no scheduler or worker at the address, or
            workers that would give other results: other libraries, another version of this project, several threads.
    """
    if backend == "joblib":
        if scheduler is not None:
            raise UserError(f"--scheduler {scheduler}: needs --backend dask; give both or neither")
        yield Workers()
        return
    if scheduler is None:
        raise UserError("--backend dask: needs the address of the cluster, as in --scheduler tcp://127.0.0.1:8786")
    client = _connected(scheduler, timeout)
    try:
        _check_cluster(client, scheduler)
        yield Workers("dask", client=client)
    finally:
        client.close()


def _connected(scheduler: str, timeout: float) -> Any:
    import logging

    import dask
    from distributed import Client

    # A task carries its rows, because scattered data would be lost with the worker that holds it.
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})
    logging.getLogger("distributed").setLevel(logging.ERROR)  # lost workers are handled by `map`
    try:
        client: Any = Client(scheduler, timeout=timeout, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UserError(
            f"--scheduler {scheduler}: no Dask scheduler answers at this address ({error}); start one"
        ) from None
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError:
        client.close()
        raise UserError(
            f"--scheduler {scheduler}: no worker connected within {timeout:g} s; start some: {START}"
        ) from None
    return client


def _check_cluster(client: Any, scheduler: str) -> None:
    """Refuse workers that would give different results, or none."""
    try:
        there = client.run(identity)
    except ImportError as error:
        why = f"its workers cannot import this project ({error}); start them in a clone of it: {START}"
        raise UserError(f"--scheduler {scheduler}: {why}") from None
    here = identity()
    for worker, theirs in there.items():
        for name, version in here.items():
            if theirs[name] != version:
                raise UserError(
                    f"--scheduler {scheduler}: worker {worker} has {name} {theirs[name]}, this machine {version}; "
                    "the results would differ: give it the same requirements and the same version of this project"
                )
    for worker, threads in client.ncores().items():
        if threads != 1:
            # The threads of a process share the BLAS thread limit, which determines the order of sums.
            raise UserError(f"--scheduler {scheduler}: worker {worker} has {threads} threads; start it with: {START}")


def identity() -> dict[str, str]:
    """What results depend on besides rows and settings: library versions and a hash of this project's code."""
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        code.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return {**library_versions(), "code of trading/": code.hexdigest()[:12]}
