package org.apache.spark.sql.llm

import java.io.{File, OutputStream}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Paths}

import scala.util.Try
import scala.util.control.NonFatal

import org.apache.spark.SparkContext
import org.apache.spark.internal.Logging
import org.apache.spark.sql.internal.SQLConf

/**
 * Draws progress where no Python of the driver does: spark-sql, an application's jar, a Connect server. The drawing is
 * Python's, in a process whose standard error is this JVM's.
 * {{{
 *   Progress.json, once a second --stdin--> python -m spark_llm.progress --stderr--> terminal or log
 * }}}
 * Started by the first query with a call that wants it and runs for longer than a moment; ends with this JVM.
 */
object ProgressWriter extends Logging {
  private val EveryMs = 1000L
  private val PatienceMs = 1500L

  private var thread: Option[Thread] = None

  /** A query with a call has started. */
  def follow(context: SparkContext): Unit = synchronized {
    if (!thread.exists(_.isAlive) && wanted && !Progress.drawnElsewhere) {
      val started = new Thread(() => run(context), "spark-llm-progress")
      started.setDaemon(true)
      started.start()
      thread = Some(started)
    }
  }

  private def wanted: Boolean = Progress.current.filter(_.endedMs.isEmpty).exists { q =>
    q.executions.headOption.exists { e =>
      val mode = LLMConf.get(e.sparkSession.conf.getAll, "spark.llm.progress.enabled").map(_.trim.toLowerCase)
      mode.contains("true") || (mode.contains("auto") && terminal)
    }
  }

  /** Is standard error a terminal? */
  private def terminal: Boolean =
    Try(Files.readSymbolicLink(Paths.get("/proc/self/fd/2")).toString).toOption
      .exists(p => p.startsWith("/dev/pts/") || p.startsWith("/dev/tty"))

  private def run(context: SparkContext): Unit =
    try {
      Thread.sleep(PatienceMs) // most queries of a test or a dashboard are over by then
      if (wanted && !Progress.drawnElsewhere) write(start(), context)
    } catch { case NonFatal(e) => logWarning(s"progress is not drawn: ${e.getMessage}") }

  private def start(): Process = {
    val builder = new ProcessBuilder(PythonCommand.executable(new SQLConf), "-m", "spark_llm.progress")
    builder.environment().put("PYTHONPATH", PythonCommand.pythonPath)
    builder.redirectError(ProcessBuilder.Redirect.INHERIT)
    builder.redirectOutput(ProcessBuilder.Redirect.to(new File("/dev/null")))
    builder.start()
  }

  private def write(process: Process, context: SparkContext): Unit = {
    val out = process.getOutputStream
    try {
      while (process.isAlive && !context.isStopped && !Progress.drawnElsewhere && Progress.active) {
        line(out)
        Progress.synchronized(Progress.wait(EveryMs))
      }
      line(out) // the last figures
    } finally {
      out.close()
      process.waitFor()
    }
  }

  private def line(out: OutputStream): Unit = {
    out.write((Progress.json + "\n").getBytes(UTF_8))
    out.flush()
  }
}
