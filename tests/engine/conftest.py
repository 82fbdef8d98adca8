"""Servers and processes that the engine tests share."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spark_llm.engine.types import EngineRequest, Sampling

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sampling():
    def make(constraint=None, seed=None, max_tokens=32, model=None, temperature=0.0):
        return Sampling(model, temperature, max_tokens, seed, constraint)

    return make


@pytest.fixture
def rows():
    def make(count, instruction="Is it about food?", **fields):
        return [
            EngineRequest("Answer.", f"{instruction}\n{json.dumps({'review': f'number {n}', **fields})}")
            for n in range(count)
        ]

    return make


@pytest.fixture
def in_thread():
    """Serves a server in a thread until the test ends."""
    started = []

    def start(server):
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def scripted_server(in_thread):
    """An HTTP server that plays a list of (status, headers, body) and keeps the requests it got."""

    def start(script):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server.lock:
                    server.seen.append((self.path, dict(self.headers), body))
                    step = script.pop(0) if len(script) > 1 else script[0]
                if step == "hang up":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, headers, answer = step(body) if callable(step) else step
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None
        server.seen, server.lock = [], threading.Lock()
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        return in_thread(server)

    return start


class SupervisorUnderTest:
    """`python -m spark_llm.engine.server` with a stand-in for vLLM, or with vLLM itself."""

    def __init__(self, folder, conf, command=None, env=None):
        program = ["-m", "spark_llm.engine.server"]
        if command is not None:
            program = ["-c", _WITH_STAND_IN, json.dumps(command)]
        self.folder = folder
        self.lines, self.metrics = [], []
        self._rest = b""
        self.process = subprocess.Popen(
            [sys.executable, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            cwd="/",
        )
        order = {"dir": str(folder), "conf": conf}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, *states, timeout=20.0, after=0):
        """The first line, from number `after` on, whose state is one of `states`."""
        end = time.monotonic() + timeout
        while True:
            for line in self.lines[after:]:
                if line["state"] in states:
                    return line
            self._read(end, states)

    def _read(self, end, states):
        out = self.process.stdout.fileno()
        if not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
            pytest.fail(f"no state {states} in time; got {[line['state'] for line in self.lines]}")
        data = os.read(out, 65536)
        if not data:
            pytest.fail(f"the supervisor ended ({self.process.wait()}) without {states}; got {self.lines}")
        *whole, self._rest = (self._rest + data).split(b"\n")
        told = [json.loads(line) for line in whole if line.strip()]
        self.lines += [line for line in told if "state" in line]
        self.metrics += [line["metrics"] for line in told if "metrics" in line]

    def end_stdin(self):
        self.process.stdin.close()

    def clean(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


_WITH_STAND_IN = """
import json, os, sys
import spark_llm.engine.server as server
command = json.loads(sys.argv[1])
server._command = lambda conf, place, memory_share: ([*command, str(place.socket)], dict(os.environ))
sys.exit(server.main())
"""


@pytest.fixture
def supervisor(tmp_path):
    """Starts supervisors; ends them, and fails the test's clean-up when processes are left."""
    started = []

    def start(conf=None, command=None, folder=None, env=None):
        one = SupervisorUnderTest(folder or tmp_path / "engine", conf or {}, command, env)
        started.append(one)
        return one

    yield start
    for one in started:
        one.clean()


@pytest.fixture
def fake_command():
    """A command line of the fake server; the socket's path is appended."""

    def make(delay=0.0):
        return [sys.executable, "-m", "spark_llm.engine.fake_server", "--delay", str(delay), "--uds"]

    return make


@pytest.fixture(scope="session")
def supervisor_class():
    """For fixtures of a wider scope than a test; call `clean` when done."""
    return SupervisorUnderTest
