"""An endpoint that misbehaves, asked over real sockets by the real client; only the waits are not real."""

from __future__ import annotations

import asyncio
import ssl
import subprocess

import pytest

from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.faults import FAULTS, Faults
from spark_llm.engine.faulty_server import FaultyServer
from spark_llm.engine.openai_chat import OpenAIChatClient
from spark_llm.engine.types import Constraint, EngineRequest
from spark_llm.errors import SparkLLMError

reliability = pytest.mark.reliability
PASSING = [name for name in FAULTS if name not in {"ok", "slow", "400", "error-200"}]


@pytest.fixture
def serve(in_thread):
    """Starts a server with faults; `ask(server, requests, sampling, **limits)` asks it."""

    def start(slow_s=0.0, tls=None, **faults):
        server = FaultyServer(FakeEngine(), Faults(**faults), slow_s)
        server.handle_error = lambda *_: None
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        return in_thread(server)

    return start


@pytest.fixture
def ask():
    slept, clock, opened = [], [0.0], []

    async def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds
        await asyncio.sleep(0)

    def go(server, requests, sampling, scheme="http", concurrent=16, credential=None, **limits):
        url = f"{scheme}://127.0.0.1:{server.server_port}/v1"
        client = OpenAIChatClient(url, "m", credential, concurrent, sleep, now=lambda: clock[0], **limits)
        opened.append(client)
        return client.submit(requests, sampling).result(30)

    go.slept = slept
    yield go
    for client in opened:
        client.close()


def texts(answers):
    return [one.text for one in answers]


@pytest.mark.parametrize("fault", PASSING)
def test_trouble_that_passes_costs_a_retry_and_no_answer(serve, ask, rows, sampling, fault):
    """Any fault once, then well -> the answer, and one retry counted."""
    calm = ask(serve(), rows(1), sampling())
    (found,) = ask(serve(script=[fault]), rows(1), sampling())
    assert found.text == calm[0].text
    assert (found.condition, found.retries) == (None, 1)
    assert len(ask.slept) == 1


@reliability("429 with Retry-After in seconds", "waited for so long by all requests, then answered")
def test_retry_after_in_seconds_holds_all_requests(serve, ask, rows, sampling):
    """429 with Retry-After: 1 for one of eight -> nothing is sent for a second."""
    found = ask(serve(script=["429-seconds"]), rows(8), sampling(), concurrent=1)
    assert all(found_one.condition is None for found_one in found)
    assert ask.slept == [1.0]


@reliability("429 with Retry-After as a date", "waited until then, then answered")
def test_retry_after_as_a_date(serve, ask, rows, sampling):
    """429 with an HTTP date two seconds ahead -> waits at most that."""
    (found,) = ask(serve(script=["429-date"]), rows(1), sampling())
    assert found.condition is None
    assert 0 <= ask.slept[0] <= 2


@reliability("429, 500, drops, half bodies, wrong JSON on 60 % of requests", "every row answered, as in calm")
@pytest.mark.parametrize("seed", range(3))
def test_a_seeded_mix_changes_no_answer(serve, ask, rows, sampling, seed):
    """Six in ten requests go wrong, in all ways -> the same answers as without faults."""
    calm = ask(serve(), rows(60), sampling())
    shares = dict.fromkeys(PASSING, 0.6 / len(PASSING))
    server = serve(share=shares, seed=seed)
    found = ask(server, rows(60), sampling(), max_retries=40)
    assert texts(found) == texts(calm)
    wrong = sum(count for name, count in server.faults.done.items() if name != "ok")
    assert sum(one.retries for one in found) >= wrong > 30


@reliability("truncated JSON for one row, each time", "LLM_RESPONSE_INVALID for that row")
@reliability("JSON of another form for one row, each time", "LLM_RESPONSE_INVALID for that row")
@reliability("HTTP 200 with an error object", "LLM_REQUEST_REJECTED for that row, not sent again")
@reliability("500 for one row, each time", "LLM_ENDPOINT_FAILED for that row, while others are answered")
@reliability("connection dropped for one row, each time", "LLM_ENDPOINT_FAILED for that row")
@reliability("429 for one row, each time", "LLM_RATE_LIMITED for that row, while others are answered")
@pytest.mark.parametrize(
    ("fault", "condition", "words", "retries"),
    [
        ("truncated", "LLM_RESPONSE_INVALID", ["6 attempts", "no JSON"], 5),
        ("wrong-schema", "LLM_RESPONSE_INVALID", ["without a completion", "another protocol"], 5),
        ("error-200", "LLM_REQUEST_REJECTED", ["could not answer this row"], 0),
        ("400", "LLM_REQUEST_REJECTED", ["breaks a rule"], 0),
        ("500", "LLM_ENDPOINT_FAILED", ["HTTP 500", "something broke", "after 6 attempts"], 5),
        ("drop", "LLM_ENDPOINT_FAILED", ["disconnected", "after 6 attempts"], 5),
        ("drop-mid", "LLM_ENDPOINT_FAILED", ["after 6 attempts"], 5),
        ("429", "LLM_RATE_LIMITED", ["6 attempts", "slow down"], 5),
    ],
)
def test_what_always_fails_for_one_row_fails_that_row(
    serve, ask, rows, sampling, fault, condition, words, retries
):
    """A row the endpoint never answers, among rows that it does -> that row's condition, all others answered."""
    server = serve(always={"number 3": fault})
    found = ask(server, rows(9), sampling(), concurrent=4)
    assert [one.condition for one in found] == [None] * 3 + [condition] + [None] * 5
    assert all(word in found[3].message for word in words)
    assert found[3].retries == retries
    assert all(one.text for at, one in enumerate(found) if at != 3)


@pytest.mark.parametrize("fault", ["truncated", "wrong-schema", "error-200"])
def test_a_row_alone_gets_its_condition_too(serve, ask, rows, sampling, fault):
    """One row only, and no completion for it -> its condition, not a failed job."""
    (found,) = ask(serve(always={"number": fault}), rows(1), sampling())
    assert found.condition in {"LLM_RESPONSE_INVALID", "LLM_REQUEST_REJECTED"}


@reliability("an endpoint that only answers 500", "LLM_ENDPOINT_FAILED: the circuit breaker gives up")
def test_the_breaker_gives_up_an_endpoint_that_only_fails(serve, ask, rows, sampling):
    """500 for all rows -> a clear failure, long before each row has used up its retries."""
    server = serve(share={"500": 1.0})
    with pytest.raises(
        SparkLLMError, match=r"LLM_ENDPOINT_FAILED.*127\.0\.0\.1.*gave up.*HTTP 500"
    ) as caught:
        ask(server, rows(200), sampling(), concurrent=64)
    assert "something broke" in caught.value.message
    assert server.faults.done.total() <= 64 + 20 + 5


@reliability("an endpoint that is away for a while", "waited for; every row answered")
def test_an_endpoint_that_comes_back_is_found_by_one_probe(serve, ask, rows, sampling):
    """Failures in a row, then well -> all rows are answered."""
    server = serve(script=["drop"] * 22)
    found = ask(server, rows(100), sampling(), concurrent=25)
    assert all(one.condition is None for one in found)
    assert server.faults.done == {"drop": 22, "ok": 100}


@reliability("a request that takes too long", "cut off after spark.llm.limits.timeout, then sent again")
def test_a_slow_request_is_cut_off_and_sent_again(serve, ask, rows, sampling):
    """A response that would take a minute -> cut off after the time-out, and asked again."""
    server = serve(slow_s=60, script=["slow"])
    (found,) = ask(server, rows(1), sampling(), timeout_s=0.3)
    assert (found.condition, found.retries) == (None, 1)


def test_a_row_that_is_always_too_slow_names_the_entry(serve, ask, rows, sampling):
    """Always too slow -> a message that names spark.llm.limits.timeout."""
    server = serve(slow_s=60, always={"number": "slow"})
    with pytest.raises(SparkLLMError, match=r"within 0\.05 s \(spark\.llm\.limits\.timeout\)"):
        ask(server, rows(1), sampling(), timeout_s=0.05, max_retries=1)


@pytest.mark.parametrize("most", [0, 2])
def test_max_retries(serve, ask, rows, sampling, most):
    server = serve(share={"500": 1.0})
    with pytest.raises(SparkLLMError, match=f"after {most + 1} attempts"):
        ask(server, rows(1), sampling(), max_retries=most)
    assert server.faults.done == {"500": most + 1}


def test_pace_is_asked_before_each_attempt_and_obeyed(serve, ask, rows, sampling):
    asked = []

    def pace(requests, units):
        asked.append((requests, units))
        return 3.5 if len(asked) == 2 else 0.0

    ask(serve(script=["500"]), rows(1), sampling(max_tokens=32), pace=pace)
    assert [requests for requests, _ in asked] == [1, 1]
    assert all(32 < units < 200 for _, units in asked)
    assert ask.slept[-1] == 3.5


def test_what_a_wrong_attempt_is_known_to_have_cost_is_counted(scripted_server, sampling):
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    bad = (200, {}, {"choices": [], "usage": usage})
    good = (200, {}, {"choices": [{"message": {"content": "fine"}}], "usage": usage})
    client = OpenAIChatClient(scripted_server([bad, good]).url, "m", None, 1, _no_sleep)
    (found,) = client.submit([EngineRequest("s", "u")], sampling()).result(10)
    client.close()
    assert (found.text, found.retries, found.prompt_tokens, found.generated_tokens) == ("fine", 1, 18, 4)


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        ({"code": 401, "message": "no"}, "LLM_ENDPOINT_FAILED"),
        ({"type": "invalid_api_key", "message": "no"}, "LLM_ENDPOINT_FAILED"),
        ({"code": 429, "message": "no"}, "LLM_RATE_LIMITED"),
        ({"type": "overloaded_error", "message": "no"}, "LLM_ENDPOINT_FAILED"),
        ({"code": "404", "message": "no"}, "LLM_MODEL_NOT_FOUND"),
    ],
)
def test_an_error_in_a_200_that_names_a_status_counts_as_that(scripted_server, sampling, error, condition):
    client = OpenAIChatClient(scripted_server([(200, {}, {"error": error})]).url, "m", None, 1, _no_sleep)
    with pytest.raises(SparkLLMError, match=condition):
        client.submit([EngineRequest("s", "u")], sampling()).result(10)
    client.close()


@pytest.mark.parametrize("content", [7, ["a"], {"a": 1}])
def test_a_content_that_is_no_text(scripted_server, sampling, content):
    body = {"choices": [{"message": {"content": content}}]}
    client = OpenAIChatClient(scripted_server([(200, {}, body)]).url, "m", None, 1, _no_sleep)
    (found,) = client.submit([EngineRequest("s", "u")], sampling()).result(10)
    client.close()
    assert found.condition == "LLM_RESPONSE_INVALID"


@reliability("a server that repeats the credential or the row in its error", "neither is in the message")
@pytest.mark.parametrize("status", [400, 401, 500, 200])
def test_messages_repeat_neither_credential_nor_row(scripted_server, sampling, status):
    """A server that says the key and the prompt back -> a message without them."""
    row = "The pasta was cold and the waiter was rude to us."
    said = {"message": f"key k-9137 may not ask {row}"}
    server = scripted_server([(status, {}, {"error": said})])
    client = OpenAIChatClient(server.url, "m", "k-9137", 1, _no_sleep)
    try:
        (found,) = client.submit([EngineRequest("s", row)], sampling()).result(10)
        message = found.message
    except SparkLLMError as error:
        message = str(error)
    client.close()
    assert "may not ask" in message
    assert "k-9137" not in message
    assert "waiter" not in message


@reliability("a certificate that nobody vouches for", "LLM_ENDPOINT_FAILED at once, nothing is sent")
def test_a_self_signed_server_is_refused(serve, ask, rows, sampling, tmp_path):
    """A self-signed certificate -> refused at once, and it got no request."""
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*made, "-addext", "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = serve(tls=tls)
    with pytest.raises(SparkLLMError, match=r"LLM_ENDPOINT_FAILED.*certificate is not trusted"):
        ask(server, rows(2), sampling(), scheme="https", credential="k-1")
    assert not server.faults.done
    assert ask.slept == []


@reliability("a redirect", "LLM_ENDPOINT_FAILED: not followed, whatever host it names")
def test_a_redirect_is_not_followed(scripted_server, sampling):
    """HTTP 307 to another server -> that server gets nothing."""
    elsewhere = scripted_server([(200, {}, {})])
    client = OpenAIChatClient(
        scripted_server([(307, {"location": f"{elsewhere.url}/chat/completions"}, {})]).url,
        "m", "k", 1, _no_sleep,
    )  # fmt: skip
    with pytest.raises(SparkLLMError, match="HTTP 307.*redirects are not followed"):
        client.submit([EngineRequest("s", "u")], sampling()).result(10)
    client.close()
    assert elsewhere.seen == []


def test_constrained_answers_survive_the_faults(serve, ask, rows, sampling):
    server = serve(share={"drop-mid": 0.3, "429": 0.3}, seed=5)
    found = ask(server, rows(20), sampling(Constraint(choice=("Yes", "No"))), max_retries=30)
    assert {one.text for one in found} <= {"Yes", "No"}


def test_draws_depend_on_seed_prompt_and_attempt_not_on_arrival():
    prompts = [f"prompt {number}" for number in range(300)]

    def draws(order, seed=1):
        faults = Faults(share={"500": 0.3, "drop": 0.2}, seed=seed)
        return {prompt: (faults.next(prompt), faults.next(prompt)) for prompt in order}

    assert draws(prompts) == draws(prompts[::-1])
    assert draws(prompts) != draws(prompts, seed=2)
    first = [one for one, _ in draws(prompts).values()]
    assert 60 < first.count("500") < 120
    assert 40 < first.count("drop") < 80


@pytest.mark.parametrize("wrong", [{"share": {"501": 0.1}}, {"share": {"500": 1.2}}, {"script": ["nope"]}])
def test_faults_that_do_not_exist(wrong):
    with pytest.raises(SparkLLMError, match="LLM_INVALID_ARGUMENT"):
        Faults(**wrong)


async def _no_sleep(_seconds):
    await asyncio.sleep(0)
