"""Getting the extension into a Spark session.

    before it is built     configure(SparkSession.builder)    spark.jars, spark.plugins
    built by someone else  register(spark)                    ADD JAR, then LiveInstall.install by reflection
    spark-submit, -sql     --jars $(spark-llm jar) --conf spark.plugins=…    session_conf() shows what to set
    Spark Connect          nothing can be installed from a client: the server needs the conf above

The jar on the class path is all that Spark needs to find the extension: a service file in it names the class.
Spark says nothing when a jar comes too late, so everything here checks and explains.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from spark_llm.conf import PREFIX, parse_conf
from spark_llm.errors import SparkLLMError, unsupported
from spark_llm.interrupt import cancel_on_interrupt
from spark_llm.spark_defaults import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyspark.sql import SparkSession

EXTENSIONS: Final = "org.apache.spark.sql.llm.LLMExtensions"
PLUGIN: Final = "org.apache.spark.sql.llm.LLMPlugin"
_HEARTBEAT: Final = "spark.executor.heartbeatInterval"
INSTALLER: Final = "org.apache.spark.sql.llm.LiveInstall"


def jar_path(spark_version: str | None = None) -> Path:
    """Returns the jar for the installed Spark, or ``spark_version``; compiled first where none is shipped."""
    from spark_llm.catalyst.build import ensure_jar

    return ensure_jar(spark_version)


def session_conf() -> dict[str, str]:
    """Returns the two entries that a session needs."""
    return {"spark.jars": str(jar_path()), "spark.plugins": PLUGIN}


def configure(builder: SparkSession.Builder, **conf: Any) -> SparkSession.Builder:
    """Adds the extension to a session that is about to be built.

    >>> configure(SparkSession.builder, model="Qwen/Qwen3-0.6B").getOrCreate()  # doctest: +SKIP

    Args:
        builder: what it, spark-submit or spark-defaults.conf already says about jars and plug-ins is kept.
        conf: ``spark.llm.*`` entries without the prefix and with ``_`` for dots, such as ``model=…`` and
            ``engine_kind="fake"``; or whole keys, by ``**{"spark.llm.engine.kind": "fake"}``.

    Returns:
        The builder.

    Raises:
        SparkLLMError: LLM_UNKNOWN_CONF or LLM_INVALID_CONF; LLM_UNSUPPORTED for a remote Connect server,
            and when Spark runs already in this process, as it then ignores jars and plug-ins in silence.
    """
    settings = {_key(name): _text(value) for name, value in conf.items()}
    parse_conf(settings)
    options: dict[str, Any] = getattr(builder, "_options", {})
    remote = str(options.get("spark.remote") or os.environ.get("SPARK_REMOTE") or "local")
    if not remote.startswith("local"):
        raise _server_needs_it()
    _refuse_running_session()
    known = {**_given_elsewhere(), **options}
    for key, value in session_conf().items():
        present = [part for part in str(known.get(key) or "").split(",") if part]
        builder.config(key, ",".join(present if value in present else [*present, value]))
    for key, value in {**_worker_python(options), **_heartbeat(known), **settings}.items():
        builder.config(key, value)
    _draw_progress({**known, **settings}.get("spark.llm.progress.enabled"))
    return builder


def register(spark: SparkSession) -> None:
    """Adds the functions and rules to a session that runs already, for example a notebook's.

    The plug-in that starts engines with their executors cannot be added to a running application: the first
    call starts them. A session that has the function already is left as it is, but for Ctrl-C: see
    `spark_llm.interrupt`.

    Raises:
        SparkLLMError: LLM_UNSUPPORTED with what to do where the session does not let itself be extended.
    """
    if not hasattr(spark, "_jsparkSession"):
        if _has_function(spark):
            return
        raise _server_needs_it()
    cancel_on_interrupt(spark)
    _draw_progress(spark.conf.get("spark.llm.progress.enabled", "auto"))
    if _has_function(spark):
        return
    restart = "Restart the session with spark_llm.configure(SparkSession.builder).getOrCreate()."
    try:
        java_session = spark._jsparkSession  # noqa: SLF001
        spark.sql(f"ADD JAR '{_quoted(str(jar_path(spark.version)))}'")
        loader = java_session.sharedState().jarClassLoader()
        _install(spark, loader.loadClass(INSTALLER), java_session)
        for value in _worker_python(dict(spark.sparkContext.getConf().getAll())).values():
            spark.conf.set("spark.sql.execution.pyspark.python", value)
    except SparkLLMError:
        raise
    except Exception as error:
        raise unsupported(f"extending this running session ({_first_line(error)})", restart) from error
    if not _has_function(spark):
        raise unsupported("extending this running session (the function llm did not appear)", restart)


def _server_needs_it() -> SparkLLMError:
    return unsupported(
        "extending a Spark Connect server from its client",
        f"Start the server with --jars {jar_path()} --conf spark.plugins={PLUGIN}.",
    )


def _worker_python(options: Mapping[str, Any]) -> dict[str, str]:
    """Returns this interpreter as the workers', where Spark would take whichever ``python3`` is on PATH.

    A local session only: on a cluster this path may not exist.
    """
    if {"PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"} & os.environ.keys() or "spark.pyspark.python" in options:
        return {}
    master = options.get("spark.master")
    if master is None:
        # spark-submit and spark-defaults.conf name a master that cannot be seen from here.
        local = (
            not {"PYSPARK_GATEWAY_PORT", "SPARK_HOME", "SPARK_CONF_DIR", "SPARK_REMOTE"} & os.environ.keys()
        )
    else:
        local = str(master).startswith("local")
    return {"spark.pyspark.python": sys.executable} if local else {}


def _heartbeat(known: Mapping[str, Any]) -> dict[str, str]:
    """Lets a local session's executor tell its counts every two seconds, for the progress line.

    On a cluster that would be many more messages to the driver: there the user decides.
    """
    local = str(known.get("spark.master") or "").startswith("local[")
    return {_HEARTBEAT: "2s"} if local and _HEARTBEAT not in known else {}


def _draw_progress(mode: Any) -> None:
    from spark_llm.progress.follow import follow_session

    follow_session(str(mode or "auto").strip().lower())


def _install(spark: SparkSession, installer: Any, java_session: Any) -> None:
    # py4j cannot see classes of a jar added later, so the static method is called by Java's own reflection.
    gateway: Any = spark.sparkContext._gateway  # noqa: SLF001
    method = next(method for method in installer.getMethods() if method.getName() == "install")
    arguments = gateway.new_array(gateway.jvm.java.lang.Object, 1)
    arguments[0] = java_session
    method.invoke(None, arguments)


def _has_function(spark: SparkSession) -> bool:
    return bool(spark.sql("SHOW FUNCTIONS LIKE 'llm'").take(1))


def _given_elsewhere() -> dict[str, str]:
    """What spark-submit's command line, or spark-defaults.conf, says; a builder's entries would hide it."""
    if _under_spark_submit():
        from pyspark import SparkConf

        return dict(SparkConf().getAll())
    return read_settings([], os.environ)


def _under_spark_submit() -> bool:
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _refuse_running_session() -> None:
    if "pyspark" not in sys.modules and not _under_spark_submit():
        return
    from pyspark import SparkContext

    if _under_spark_submit():
        # The JVM runs already, but PySpark learns of it only now.
        context_class: Any = SparkContext
        context_class._ensure_initialized()  # noqa: SLF001
        if not _jar_is_there(context_class._jvm):  # noqa: SLF001
            raise unsupported(
                "adding the jar under spark-submit, whose JVM runs before Python does",
                'Give it on the command line: spark-submit --jars "$(spark-llm jar)" …',
            )
    context, jvm = SparkContext._active_spark_context, SparkContext._jvm  # noqa: SLF001
    # A JVM outlives spark.stop(), and takes jars only when it starts.
    usable = jvm is None or _jar_is_there(jvm)
    if usable and (context is None or PLUGIN in str(context.getConf().get("spark.plugins", ""))):
        return
    raise unsupported(
        "configuring a session when Spark was already started in this process without it",
        "Restart Python and configure before the first session is built, or call "
        "spark_llm.register(spark) on the one that runs.",
    )


def _jar_is_there(jvm: Any) -> bool:
    return bool(jvm.org.apache.spark.util.Utils.classIsLoadable(EXTENSIONS))


def _key(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name.replace("_", ".")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(path: str) -> str:
    return path.replace("\\", "\\\\").replace("'", "\\'")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
