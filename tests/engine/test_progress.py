from __future__ import annotations

from spark_llm.engine.progress import Progress


class Clock:
    time = 100.0

    def __call__(self):
        return self.time


def test_an_engine_without_requests_is_never_stalled():
    clock = Clock()
    progress = Progress(clock)
    clock.time = 500
    assert progress.stalled_s(0) == 0


def test_time_without_a_step_counts_from_the_last_moment_without_work():
    clock = Clock()
    progress = Progress(clock)
    clock.time = 500
    progress.stalled_s(0)
    clock.time = 507
    assert progress.stalled_s(3) == 7


def test_a_step_starts_it_anew():
    clock = Clock()
    progress = Progress(clock)
    clock.time = 160
    assert progress.stalled_s(1) == 60
    progress.record(scheduler_stats=None, iteration_stats=None, engine_idx=0)
    clock.time = 161
    assert progress.stalled_s(1) == 1


def test_it_is_a_stat_logger_of_any_vllm():
    progress = Progress()
    progress.log()
    progress.log_engine_initialized()
    progress.record_sleep_state(1, 0)
    progress.record_something_new(1)
