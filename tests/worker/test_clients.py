import pytest

from spark_llm.conf import parse_conf
from spark_llm.engine import client
from spark_llm.worker import clients


class Recorded:
    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def opened(monkeypatch):
    made = []

    def open_client(settings, environ):
        made.append(Recorded())
        return made[-1]

    monkeypatch.setattr(clients, "_clients", {})
    monkeypatch.setattr(client, "open_client", open_client)
    return made


def test_a_client_is_kept_from_task_to_task(opened):
    one = parse_conf({"spark.llm.engine.kind": "fake"})
    other = parse_conf({"spark.llm.engine.kind": "fake", "spark.llm.maxAnswerLen": "9"})
    assert clients.client_for(one, {"HOME": "/a"}) is clients.client_for(other, {"HOME": "/b"})
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        ({"spark.llm.engine.kind": "fake", "spark.llm.fake.fail": "x"}, {}),
        ({"spark.llm.engine.kind": "fake"}, {"SPARK_LLM_ENGINE_SOCKET": "/other"}),
    ],
)
def test_another_engine_is_another_client(opened, settings, environ):
    first = clients.client_for(parse_conf({"spark.llm.engine.kind": "fake"}), {})
    assert clients.client_for(parse_conf(settings), environ) is not first


def test_a_forked_process_opens_its_own(opened, monkeypatch):
    conf = parse_conf({})
    first = clients.client_for(conf, {})
    monkeypatch.setattr(clients.os, "getpid", lambda: -1)
    assert clients.client_for(conf, {}) is not first


def test_forgotten_and_ended_clients_are_closed(opened):
    conf = parse_conf({})
    clients.client_for(conf, {})
    clients.forget(conf, {})
    clients.forget(conf, {})
    clients.client_for(conf, {})
    clients.close_all()
    assert [made.closed for made in opened] == [True, True]
