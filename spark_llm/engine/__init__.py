"""Everything between a rendered prompt and its answer.

    worker (Python, one per task)                          executor JVM (one per machine or more)
      EngineRequest, Sampling       types.py                 starts `python -m spark_llm.engine.server`
            │ open_client(conf)     client.py                      │ stdin: conf, then open for life
            ├─ fake ──► FakeEngine  fake.py                        ▼
            ├─ openai ► OpenAIChatClient ──TLS──► an endpoint   Supervisor      supervisor.py, server.py
            └─ vllm ──► HttpBatchClient                            │ starts, watches, starts again, cleans up
                              │ POST /spark_llm/v1/batch           ▼
                              └────────── Unix socket ──► vLLM API server + BatchEndpoint    vllm_plugin.py
            ◄── EngineAnswer: text or this row's condition; SparkLLMError when the whole engine failed

Importing this package imports nothing else.
"""
