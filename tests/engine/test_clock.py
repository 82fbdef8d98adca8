from spark_llm.engine.clock import EngineClock


def test_gaps_count_in_the_span_and_not_as_busy():
    times = iter([10.0, 11.0, 12.0, 15.0, 20.0, 21.0])
    clock = EngineClock(lambda: next(times))
    clock.begin()  # 10
    clock.begin()  # 11
    clock.end(5, 1)  # 12
    clock.end(5, 2)  # 15
    clock.begin()  # 20
    clock.end(0, 0)  # 21
    assert clock.read() == {
        "span_s": 11.0,
        "busy_s": 6.0,
        "requests": 3,
        "prompt_tokens": 10,
        "generated_tokens": 3,
    }


def test_reset_forgets():
    clock = EngineClock(lambda: 1.0)
    clock.begin()
    clock.end(1, 1)
    clock.reset()
    assert not any(clock.read().values())
