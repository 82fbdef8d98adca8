"""An endpoint that misbehaves, to see what a job does then: a fake server with faults.

    python -m spark_llm.engine.faulty_server --port 8000 --seed 7 --faults '{"429": 0.1, "drop-mid": 0.05}'

    429            too many requests, says no more        429-seconds, 429-date  with Retry-After
    500            internal error                         slow       answers after --slow seconds
    truncated      200, half of the JSON                  drop       closes before a response
    drop-mid       closes in the middle of the body       wrong-schema  200, JSON of another form
    error-200      200 with an error object               400        refuses the row

Point spark.llm.engine.kind=openai at http://localhost:8000/v1; /faults counts what was done so far.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from spark_llm.conf import parse_conf
from spark_llm.engine.fake import FakeEngine
from spark_llm.engine.fake_server import FakeServer, Handler
from spark_llm.engine.faults import Faults

if TYPE_CHECKING:
    from spark_llm.engine.faults import Fault

_RETRY_AFTER_S = 1


class FaultyServer(FakeServer):
    """A `FakeServer` whose chat completions go wrong as `faults` says.

    Args:
        engine: who answers what does not go wrong.
        faults: what goes wrong, and when.
        slow_s: how long a slow request takes.
        more: see `FakeServer`.
    """

    def __init__(self, engine: FakeEngine, faults: Faults, slow_s: float = 1.0, **more: Any) -> None:
        self.faults, self.slow_s = faults, slow_s
        super().__init__(engine, handler=_FaultyHandler, **more)


class _FaultyHandler(Handler):
    server: FaultyServer

    def do_GET(self) -> None:  # noqa: N802  the base class's name
        """Also tells the faults so far."""
        if self.path == "/faults":
            self.reply(200, dict(self.server.faults.done))
        else:
            super().do_GET()

    def reply_to_chat(self, body: dict[str, Any]) -> None:
        """The answer, or what is wrong with it."""
        fault = self.server.faults.next(json.dumps(body.get("messages")))
        if fault == "slow":
            time.sleep(self.server.slow_s)
        if fault in {"ok", "slow"}:
            super().reply_to_chat(body)
        elif fault in {"truncated", "drop-mid"}:
            self._cut(body, whole_length=fault == "drop-mid")
        elif fault == "drop":
            self._hang_up()
        else:
            self._refuse(fault)

    def _refuse(self, fault: Fault) -> None:
        headers = {}
        if fault == "429-seconds":
            headers["retry-after"] = str(_RETRY_AFTER_S)
        elif fault == "429-date":
            # An HTTP date has whole seconds: two of them are at least one.
            moment = datetime.now(UTC) + timedelta(seconds=2 * _RETRY_AFTER_S)
            headers["retry-after"] = format_datetime(moment, usegmt=True)
        if fault == "wrong-schema":
            self.reply(200, {"outputs": ["a server of another protocol"]})
        elif fault == "error-200":
            self.reply(200, {"error": {"message": "the model could not answer this row", "code": None}})
        elif fault == "400":
            self.reply(400, {"error": {"message": "this row breaks a rule", "type": "invalid_request_error"}})
        elif fault == "500":
            self.reply(500, {"error": {"message": "something broke", "type": "server_error"}})
        else:
            self.reply(429, {"error": {"message": "slow down", "type": "rate_limit_error"}}, headers)

    def _cut(self, body: dict[str, Any], *, whole_length: bool) -> None:
        """Half of an answer: as if it were all, or with the length of the whole and then nothing."""
        _, answer = self.chat_reply(body)
        data = json.dumps(answer).encode()
        half = data[: len(data) // 2]
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data if whole_length else half)))
        self.end_headers()
        self.wfile.write(half)
        if whole_length:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


def main(arguments: list[str] | None = None) -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m spark_llm.engine.faulty_server", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--port", type=int, required=True, help="TCP port on the loopback interface")
    parser.add_argument("--faults", type=json.loads, default={}, help="JSON: share of requests by fault")
    parser.add_argument("--always", type=json.loads, default={}, help="JSON: fault by text of a prompt")
    parser.add_argument("--script", type=json.loads, default=[], help="JSON: faults of the first requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=1.0, metavar="SECONDS", help="time of a slow request")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="least time of a request")
    chosen = parser.parse_args(arguments)
    faults = Faults(chosen.script, chosen.always, chosen.faults, chosen.seed)
    engine = FakeEngine.from_conf(parse_conf({}))
    FaultyServer(engine, faults, chosen.slow, port=chosen.port, delay_s=chosen.delay).serve_forever()


if __name__ == "__main__":
    main()
