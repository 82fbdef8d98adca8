package org.apache.spark.sql.llm

import java.nio.file.{Files, Path, Paths}

import org.apache.spark.{TaskContext, TaskKilledException}
import org.apache.spark.internal.Logging
import org.apache.spark.util.{ShutdownHookManager, Utils}

/**
 * What decides which engine is meant.
 *
 * @param values spark.llm.* entries of the session
 * @param workersPython interpreter of the Python workers; the engine runs on it unless the session names another
 */
case class EngineSpec(values: Map[String, String], workersPython: String) {
  def python: String = values.getOrElse("spark.llm.engine.python", workersPython)

  /** Sessions that agree on these share the engine. */
  def key: Map[String, String] = values.filter { case (k, _) =>
    k == "spark.llm.model" || k.startsWith("spark.llm.models.") || k.startsWith("spark.llm.engine.")
  } + ("python" -> python)
}

/** @param socket Unix socket of the engine; @param state file in which its supervisor says how it is */
case class EngineAddress(socket: String, state: String)

/**
 * The one engine of this JVM (executor, or the driver in local mode), shared by all its Python workers. Started by
 * LLMPlugin when the executor starts, or by the first task that needs it. Another session's settings replace it as
 * soon as no task uses it.
 */
object EngineHost extends Logging {
  private val PollMs = 50L
  // a Unix socket's path has room for about 108 bytes, and working folders of YARN are longer
  private val LongestDirectory = 80
  // tasks that come while a failure is fresh get the same failure, not one start after the other
  private val FailureIsFreshMs = 5000L

  // the same directory for all engines of this JVM: Python workers are pooled by environment, so the address is stable
  private lazy val directory: Path = {
    val made = Files.createTempDirectory("spark-llm-")
    val short =
      if (made.toString.length <= LongestDirectory) made
      else Files.createTempDirectory(Paths.get("/tmp"), "spark-llm-")
    ShutdownHookManager.addShutdownHook(() => if (!anyFailed) Utils.deleteRecursively(short.toFile))
    short
  }

  private var engine: Option[EngineProcess] = None
  private var users = Set.empty[Long]
  // a log that an error message names has to stay
  @volatile private var anyFailed = false

  def prestart(spec: EngineSpec): Unit = synchronized {
    if (engine.isEmpty) engine = Some(start(spec))
  }

  /** Waits until the engine is ready. Fails with its log when it cannot start. */
  def acquire(spec: EngineSpec, task: TaskContext): EngineAddress = {
    val process = claim(spec, task)
    task.addTaskCompletionListener[Unit](_ => release(task.taskAttemptId()))
    try process.awaitReady(() => checkAlive(task))
    catch { case e: LLMExecutionException => anyFailed = true; throw e }
    process.address
  }

  /** The engine of this JVM, if one was started: for tools that ask it beside the plug-in. */
  def current: Option[EngineAddress] = synchronized(engine.map(_.address))

  def state: String = synchronized(engine.map(_.state).getOrElse("none"))

  def stop(): Unit = synchronized {
    engine.foreach(_.stop())
    engine = None
  }

  private def claim(spec: EngineSpec, task: TaskContext): EngineProcess = synchronized {
    val id = task.taskAttemptId()
    while (!engine.exists(e => e.spec.key == spec.key) && users.nonEmpty) {
      if (users.contains(id)) {
        throw LLMErrors.unsupported(
          "two local models in one query: an executor has one engine",
          "Run one query for each model, or give one of them spark.llm.models.NAME.endpoint.")
      }
      checkAlive(task)
      wait(PollMs)
    }
    engine.filter(e => e.spec.key == spec.key && e.failedWithinMs(FailureIsFreshMs)).foreach(e => throw e.failure())
    engine.filterNot(e => e.spec.key == spec.key && e.usable).foreach { old =>
      logInfo(s"the engine is replaced: ${old.state}")
      old.stop()
      engine = None
    }
    val process = engine.getOrElse(start(spec))
    engine = Some(process)
    users += id
    process
  }

  private def release(taskAttemptId: Long): Unit = synchronized {
    users -= taskAttemptId
    notifyAll()
  }

  private def start(spec: EngineSpec): EngineProcess = new EngineProcess(spec, directory)

  private def checkAlive(task: TaskContext): Unit =
    task.getKillReason().foreach(reason => throw new TaskKilledException(reason))
}
