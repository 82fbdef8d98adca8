package org.apache.spark.sql.llm

import java.io.File
import java.net.URI
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path, Paths}
import java.util.concurrent.TimeUnit

import scala.collection.mutable
import scala.util.Try
import scala.util.control.NonFatal

import org.apache.spark.SparkContext
import org.apache.spark.internal.Logging
import org.apache.spark.scheduler.{SparkListener, SparkListenerEvent}
import org.apache.spark.sql.{classic, SparkSession}
import org.apache.spark.sql.execution.ui.{SparkListenerSQLExecutionEnd, SparkListenerSQLExecutionStart}
import org.apache.spark.sql.internal.SQLConf

/**
 * One page a query, where `spark.llm.report.dir` is set; written on the driver when the query ends, well or not.
 * {{{
 *   plan and metrics, CallProfile, Progress.Query.history, ClusterMetrics
 *      | ReportJson                     <dir>/llm-<application>-<query>.json
 *      v python -m spark_llm.report     <dir>/llm-<application>-<query>.html
 * }}}
 * In a listener queue of its own, which Spark empties before it stops: nothing waits, and nothing is lost at the end.
 */
object RunReport extends Logging {
  val Dir = "spark.llm.report.dir"
  private val RenderS = 60L
  private val MostSaid = 2000

  private var context: SparkContext = _
  @volatile private var last: Option[String] = None

  /** Follows the queries of the session's application; once is enough. */
  def follow(session: SparkSession): Unit = session match {
    case s: classic.SparkSession => synchronized {
      if (context ne s.sparkContext) {
        context = s.sparkContext
        context.listenerBus.addToQueue(new Listener, "spark-llm-report")
      }
    }
    case _ =>
  }

  /** Path of the newest report; empty before the first one. */
  def lastPath: String = last.getOrElse("")

  /** Where reports go, if anywhere. */
  def folder(values: Map[String, String]): Option[Path] =
    LLMConf.get(values, Dir).map(_.trim).filter(_.nonEmpty).map { text =>
      if (text.startsWith("file:")) Paths.get(URI.create(text)) else Paths.get(text)
    }

  private class Listener extends SparkListener {
    private val roots = mutable.HashMap.empty[Long, Long]
    private val startedMs = mutable.HashMap.empty[Long, Long]
    private val written = mutable.HashSet.empty[(Long, Set[Long])]

    override def onOtherEvent(event: SparkListenerEvent): Unit = event match {
      case s: SparkListenerSQLExecutionStart =>
        roots(s.executionId) = s.rootExecutionId.getOrElse(s.executionId)
        startedMs(s.executionId) = s.time
      case e: SparkListenerSQLExecutionEnd =>
        val root = roots.remove(e.executionId).getOrElse(e.executionId)
        val start = startedMs.remove(e.executionId).getOrElse(e.time)
        try ended(e, root, start)
        catch { case NonFatal(x) => logWarning("the run report could not be written", x) }
      case _ =>
    }

    private def ended(event: SparkListenerSQLExecutionEnd, root: Long, startMs: Long): Unit =
      for {
        execution <- Option(event.qe)
        dir <- folder(execution.sparkSession.conf.getAll)
        // a query with a mistake in it has no plan
        calls = Try(PlannedCalls(execution.executedPlan)).getOrElse(Nil)
        // a command and the query inside it are one
        if calls.nonEmpty && written.add((root, calls.map(_.planned.result.exprId.id).toSet))
      } {
        Files.createDirectories(dir)
        // the engines' last figures are still on their way
        if (ClusterMetrics.since(startMs).nonEmpty) Thread.sleep(ReportJson.MarginMs)
        val name = s"llm-${execution.sparkSession.sparkContext.applicationId}-${event.executionId}"
        val json = dir.resolve(s"$name.json")
        Files.write(json, Resources.write(ReportJson(event, startMs, calls)).getBytes(UTF_8))
        tell(render(json, dir.resolve(s"$name.html")))
      }
  }

  private def tell(path: Path): Unit = {
    last = Some(path.toString)
    System.err.println(s"spark_llm: report of the query in $path")
  }

  /** The page; the data where there is no Python to make the page. */
  private def render(json: Path, html: Path): Path = {
    val said = Files.createTempFile("spark-llm-report-", ".log")
    try {
      val builder = new ProcessBuilder(
        PythonCommand.executable(new SQLConf), "-m", "spark_llm.report", json.toString, html.toString)
      builder.environment().put("PYTHONPATH", PythonCommand.pythonPath)
      builder.redirectErrorStream(true).redirectOutput(said.toFile).redirectInput(new File("/dev/null"))
      val process = builder.start()
      val done = process.waitFor(RenderS, TimeUnit.SECONDS)
      if (!done) process.destroyForcibly()
      if (done && process.exitValue() == 0) html
      else {
        val why = Files.readString(said).takeRight(MostSaid)
        logWarning(s"no page was made of $json, `spark-llm report` can do it: $why")
        json
      }
    } finally Files.deleteIfExists(said)
  }
}
