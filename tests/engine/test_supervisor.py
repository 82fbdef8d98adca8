from __future__ import annotations

import pytest

from spark_llm.engine.supervisor import Supervisor


class Clock:
    def __init__(self):
        self.time = 0.0
        self.sleeps = []
        self.stop_at = None

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.time += seconds
        return self.stop_at is not None and self.time >= self.stop_at


class Engine:
    def __init__(
        self, clock, pid, ready_after=None, dies_after=None, status=1, hangs_after=1e9, stalls_after=1e9
    ):
        self.pid, self.status = pid, status
        self.stopped = False
        self._clock, self._born = clock, clock.now()
        self._ready_after, self._dies_after, self._hangs_after = ready_after, dies_after, hangs_after
        self._stalls_after = stalls_after

    def poll(self):
        dead = self._dies_after is not None and self._clock.now() - self._born >= self._dies_after
        return self.status if dead else None

    def answers(self):
        age = self._clock.now() - self._born
        return self._ready_after is not None and self._ready_after <= age < self._hangs_after

    def stalled(self):
        return self._clock.now() - self._born >= self._stalls_after

    def stop(self, grace_s):
        self.stopped = True


class Stage:
    """A supervisor over a list of engines' lives; the last life is lived again and again."""

    def __init__(self, *lives, stop_at=None, log="boom", most_smaller=0):
        self.clock = Clock()
        self.clock.stop_at = stop_at
        self.engines, self.told, self._lives = [], [], list(lives)
        self.smaller, self.most_smaller = 0, most_smaller
        self._supervisor = Supervisor(
            spawn=self._spawn,
            answers=self._answers,
            publish=lambda *entry: self.told.append((self.clock.now(), *entry)),
            log_tail=lambda: log,
            log="/x/engine.log",
            start_timeout_s=60.0,
            clock=self.clock,
            stalled=self._stalled,
            use_less=self._use_less,
        )

    def _stalled(self):
        return self.engines[-1].stalled()

    def _use_less(self):
        self.smaller += 1
        return self.smaller <= self.most_smaller

    def _answers(self):
        return self.engines[-1].answers()

    def _spawn(self):
        life = self._lives[min(len(self.engines), len(self._lives) - 1)]
        self.engines.append(Engine(self.clock, len(self.engines) + 1, **life))
        return self.engines[-1]

    def run(self):
        return self._supervisor.run()

    def phases(self):
        return [entry[1] for entry in self.told]

    def backoffs(self):
        """Seconds between each end of an engine and the next start."""
        ends = [entry[0] for entry in self.told if entry[1] == "restarting" and entry[2] is None]
        starts = [entry[0] for entry in self.told if entry[1] == "restarting" and entry[2] is not None]
        return [start - end for end, start in zip(ends, starts, strict=False)]


WELL = {"ready_after": 5.0}
NEVER = {"dies_after": 2.0}


def test_start_ready_stop():
    stage = Stage(WELL, stop_at=50.0)
    assert stage.run() == 0
    assert stage.phases() == ["starting", "ready", "stopped"]
    assert stage.engines[0].stopped


def test_three_failed_starts_are_a_failure_with_the_log_in_its_message():
    stage = Stage(NEVER)
    assert stage.run() == 1
    assert stage.phases() == ["starting", "restarting", "restarting", "restarting", "restarting", "failed"]
    assert stage.backoffs() == [1.0, 2.0]
    assert all(engine.stopped for engine in stage.engines)
    error = stage.told[-1][3]
    assert error.condition == "LLM_ENGINE_FAILED"
    assert "boom" in error.message
    assert "/x/engine.log" in error.message
    assert "status 1" in error.message


def test_late_starts_count_as_failed():
    stage = Stage({})
    assert stage.run() == 1
    assert len(stage.engines) == 3
    assert "within 60 s" in stage.told[-1][3].message


def test_back_off_doubles_up_to_half_a_minute_while_engines_die_young():
    stage = Stage({"ready_after": 1.0, "dies_after": 3.0}, stop_at=200.0)
    assert stage.run() == 0
    assert stage.backoffs()[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert "failed" not in stage.phases()


def test_back_off_starts_anew_after_an_engine_was_well():
    young, old = {"ready_after": 1.0, "dies_after": 3.0}, {"ready_after": 1.0, "dies_after": 100.0}
    stage = Stage(young, young, old, young, stop_at=120.0)
    stage.run()
    assert stage.backoffs()[:4] == [1.0, 2.0, 1.0, 2.0]


def test_a_ready_engine_resets_the_count_of_failed_starts():
    stage = Stage(NEVER, NEVER, {"ready_after": 1.0, "dies_after": 2.0}, NEVER, NEVER, WELL, stop_at=300.0)
    assert stage.run() == 0
    assert stage.phases()[-2:] == ["ready", "stopped"]


@pytest.mark.parametrize("stop_at", [0.2, 7.0])
def test_stop_is_obeyed_while_starting_and_while_backing_off(stop_at):
    stage = Stage({"dies_after": 1.0} if stop_at > 1 else WELL, NEVER, WELL, stop_at=stop_at)
    assert stage.run() == 0
    assert stage.phases()[-1] == "stopped"
    assert all(engine.stopped for engine in stage.engines)


def test_wrong_arguments_are_not_tried_again():
    stage = Stage({"dies_after": 1.0, "status": 2}, log="api_server.py: error: unrecognized arguments: --x")
    assert stage.run() == 1
    assert len(stage.engines) == 1
    assert "unrecognized arguments" in stage.told[-1][3].message


def test_a_missing_hub_model_is_not_tried_again():
    stage = Stage(NEVER, log="OSError: x/y is not a local folder and is not a valid model identifier")
    assert stage.run() == 1
    assert len(stage.engines) == 1
    assert stage.told[-1][3].condition == "LLM_MODEL_NOT_FOUND"


NO_MEMORY = "x\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\ny"


@pytest.mark.reliability("an engine that does not fit", "started once more with half the KV cache")
def test_an_engine_that_does_not_fit_is_tried_once_with_less():
    """Out of memory at the first start, fits at the second -> ready."""
    stage = Stage(NEVER, WELL, log=NO_MEMORY, most_smaller=1, stop_at=50.0)
    assert stage.run() == 0
    assert stage.phases()[-2:] == ["ready", "stopped"]
    assert stage.smaller == 1
    assert stage.told[1][3].condition == "LLM_OUT_OF_DEVICE_MEMORY"


@pytest.mark.reliability(
    "an engine that does not fit with less either", "LLM_OUT_OF_DEVICE_MEMORY, names the entries"
)
def test_memory_has_its_own_condition():
    """Out of memory twice -> fails at once, with what to lower."""
    stage = Stage(NEVER, log=NO_MEMORY, most_smaller=1)
    assert stage.run() == 1
    assert len(stage.engines) == 2
    error = stage.told[-1][3]
    assert error.condition == "LLM_OUT_OF_DEVICE_MEMORY"
    assert "CUDA out of memory" in error.message
    assert "spark.llm.engine.kvCacheMemory" in error.hint


def test_a_cache_that_is_too_small_already_is_not_made_smaller():
    log = "ValueError: the KV cache is larger than the available KV cache memory (0.5 GiB)"
    stage = Stage(NEVER, log=log, most_smaller=1)
    assert stage.run() == 1
    assert stage.smaller == 0
    assert stage.told[-1][3].condition == "LLM_OUT_OF_DEVICE_MEMORY"


@pytest.mark.reliability(
    "an engine that says it is well and takes no step", "started again, requests sent again"
)
def test_an_engine_that_takes_no_step_is_replaced():
    """No step for longer than the time-out, /health fine -> restarted, and the reason names the entry."""
    stage = Stage({"ready_after": 1.0, "stalls_after": 50.0}, WELL, stop_at=150.0)
    assert stage.run() == 0
    assert stage.phases() == ["starting", "ready", "restarting", "restarting", "ready", "stopped"]
    assert "spark.llm.engine.stallTimeout" in stage.told[2][3].message


def test_the_signal_is_named():
    stage = Stage({"dies_after": 1.0, "status": -9})
    stage.run()
    assert "SIGKILL" in stage.told[-1][3].message


def test_an_engine_that_neither_answers_nor_exits_is_replaced():
    stage = Stage({"ready_after": 1.0, "hangs_after": 50.0}, WELL, stop_at=150.0)
    assert stage.run() == 0
    assert stage.phases() == ["starting", "ready", "restarting", "restarting", "ready", "stopped"]
    assert "no longer answered" in stage.told[2][3].message
    assert stage.told[2][0] < 80


def test_a_slow_moment_is_forgiven():
    stage = Stage(WELL, stop_at=200.0)
    answers = stage._answers
    stage._supervisor._answers = lambda: answers() and not 60 < stage.clock.now() < 75
    assert stage.run() == 0
    assert stage.phases() == ["starting", "ready", "stopped"]
