"""Trials side by side, each in a process of its own, which may die or hang without harm to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from rnn_conformance.run import load_checks

from . import trial
from .trial import Found, Job, Tell, Trial

FORK = get_context("fork")  # a new process has torch and the suite loaded


Run = Callable[[Job, Tell], list[Trial]]


def _child(job: Job, outward: Connection, run: Run) -> None:
    outward.send(run(job, outward.send))


@dataclass
class Running:
    """A job in its process, and what it is known to be trying."""

    job: Job
    process: BaseProcess
    inward: Connection
    trying: tuple[str, str, str, str] = ("", "", "", "")
    heard: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)
    units: int = 0

    def lost(self, how: str) -> Trial:
        """The trial of a process that gave no result: what it tried last is what broke it."""
        self.process.kill()
        self.process.join()
        name, check, cell, dtype = self.trying
        return Trial(
            name=name,
            profile=self.job.profile,
            seed=self.job.seed,
            cell=self.job.cell,
            in_order=self.job.in_order,
            found=[Found(check=check, cell=cell, dtype=dtype, how=how, message=f"exit code {self.process.exitcode}")],
            units=self.units,
            seconds=round(time.monotonic() - self.started, 3),
        )


def trials(jobs: Iterable[Job], workers: int, patience: float, run: Run = trial.run) -> Iterator[Trial]:
    """The trials of these jobs as they come.

    Args:
        patience: seconds without a word, after which a process counts as hanging.
    """
    load_checks()  # once, for every process
    waiting = iter(jobs)
    at_work: dict[Connection, Running] = {}
    while True:
        while len(at_work) < workers and (job := next(waiting, None)) is not None:
            running = _start(job, run)
            at_work[running.inward] = running
        if not at_work:
            return
        for inward in wait(list(at_work), timeout=1.0):
            running = at_work[inward]  # type: ignore[index]
            ended = _listen(running)
            if ended is not None:
                del at_work[running.inward]
                yield from ended
        for running in list(at_work.values()):
            if time.monotonic() - running.heard > patience:
                del at_work[running.inward]
                yield running.lost("timed_out")


def _start(job: Job, run: Run) -> Running:
    inward, outward = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_child, args=(job, outward, run), daemon=True)
    process.start()
    outward.close()
    return Running(job, process, inward)


def _listen(running: Running) -> list[Trial] | None:
    """Take in one word of a process; its trials where that was its last."""
    try:
        word = running.inward.recv()
    except EOFError:
        running.process.join()
        return [running.lost("crashed")]
    running.heard = time.monotonic()
    if isinstance(word, list):
        running.process.join()
        return word
    running.trying, running.units = word, running.units + 1
    return None
