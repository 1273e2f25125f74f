"""One search replayed: an event queue in simulated time, and the trace that it leaves."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

from benchmark.errors import Failure
from benchmark.simulation.asking import Optimizer, SearchTask, Trial
from benchmark.simulation.problem import Problem
from benchmark.streams import stream

FREE_IN_A_ROW = 10  # times the size of the space: answers already known, after which a search has nothing to ask


class Event(NamedTuple):
    """An answer.

    worker      who trained, from 0
    began       clock units at which it was asked for; `ended` when it was told
    config      index of the configuration
    epochs      after how many it was looked at
    seen        per cent, as told
    incumbent   index of the configuration that is held for the best from then on
    regret      points: the best that judges - the incumbent's
    """

    worker: int
    began: float
    ended: float
    config: int
    epochs: int
    seen: float
    incumbent: int
    regret: float


@dataclass(frozen=True)
class Trace:
    """What one search asked, in the order of the answers.

    seed      of the search's draws
    training  which of the table's seeds it saw, as an index
    blind     regret before the first answer: of a configuration drawn blindly, on average
    """

    seed: int
    training: int
    blind: float
    events: tuple[Event, ...]


def replay(problem: Problem, name: str, optimizer: Optimizer, seed: int, budget: float, workers: int = 1) -> Trace:
    """One search, until the budget (clock units) is spent or it asks for nothing more.

    The seed decides all of it: the draws, and which seed of the table is seen (all searches of one seed see the same).
    Each free worker asks; answers are told in the order in which trainings end (ties: in which they began). What ends
    after the budget is not told. A configuration goes on from the epoch that it has reached, and what is known already
    is answered at no cost. The incumbent has the highest accuracy seen after the most epochs seen (ties: the earliest).
    Raises Failure where an optimiser asks for what is not in the problem.
    """
    training = seed % len(problem.seen)
    seen, judged, cost = problem.seen[training], problem.judged[training], problem.cost[training]
    best = float(judged.max())
    search = optimizer.begin(SearchTask(problem.space, problem.epochs, stream("simulate", name, seed)))
    idle, queue = list(range(workers)), list[tuple[float, int, int, float, Trial]]()
    reached: dict[int, int] = {}
    leader: tuple[int, float] = (0, 0.0)
    incumbent, now, asked, free = -1, 0.0, 0, 0
    events: list[Event] = []
    while True:
        while idle and (trial := search.ask()) is not None:
            _require_known(problem, name, trial)
            paid = reached.get(trial.config, 0)
            price = cost[trial.config, trial.epochs - 1] - (cost[trial.config, paid - 1] if paid else 0.0)
            heapq.heappush(queue, (now + max(0.0, float(price)), asked, heapq.heappop(idle), now, trial))
            asked += 1
        if not queue:
            break
        ended, _, worker, began, trial = heapq.heappop(queue)
        free = free + 1 if ended == began else 0
        if ended > budget or free > FREE_IN_A_ROW * len(problem.space):
            break
        now = ended
        heapq.heappush(idle, worker)
        reached[trial.config] = max(trial.epochs, reached.get(trial.config, 0))
        accuracy = float(seen[trial.config, trial.epochs - 1])
        if (trial.epochs, accuracy) > leader:
            leader, incumbent = (trial.epochs, accuracy), trial.config
        regret = best - float(judged[incumbent])
        events.append(Event(worker, began, ended, trial.config, trial.epochs, accuracy, incumbent, regret))
        search.tell(trial, accuracy)
    return Trace(seed, training, best - float(judged.mean()), tuple(events))


def _require_known(problem: Problem, name: str, trial: Trial) -> None:
    if not (0 <= trial.config < len(problem.space) and 1 <= trial.epochs <= problem.epochs):
        raise Failure(
            f"optimiser '{name}' asks for configuration {trial.config} after {trial.epochs} epochs: "
            f"there are 0 to {len(problem.space) - 1}, and 1 to {problem.epochs} epochs"
        )
