package org.apache.spark.sql.llm

import scala.collection.mutable
import scala.util.Try

import org.apache.spark.SparkContext
import org.apache.spark.scheduler._
import org.apache.spark.sql.{classic, SparkSession}
import org.apache.spark.sql.execution.{QueryExecution, SQLExecution}
import org.apache.spark.sql.execution.ui.{SparkListenerSQLExecutionEnd, SparkListenerSQLExecutionStart}

/**
 * How far the calls of running queries are, as JSON, for whoever draws it.
 * {{{
 *   executors   task ends, and heartbeats of running tasks --accumulators--> totals
 *   driver      plans of running queries: calls, expected rows                  \
 *                                                                   Progress.json --> Python thread (py4j), or
 *                                                                                     ProgressWriter's process
 * }}}
 * Follows an application from its first query with a call on; a query without one costs a look at its plan.
 */
object Progress {
  private val MaxEnded = 4
  private val SampleMs = 1000L
  private val AttachedForMs = 5000L

  /** @param executions of one query: a command and what it runs have one root */
  class Query(val id: Long, val startedMs: Long) {
    @volatile var executions: Vector[QueryExecution] = Vector.empty
    @volatile var endedMs: Option[Long] = None
    @volatile var error: Option[String] = None
    val history = new History
    private[Progress] var open = 0

    def calls: Seq[PlannedCalls.Call] =
      executions.flatMap(e => Try(PlannedCalls(e.executedPlan)).getOrElse(Nil)).distinctBy(_.planned.result.exprId)
  }

  private var context: SparkContext = _
  private val queries = mutable.LinkedHashMap.empty[Long, Query]
  private val totals = new LiveTotals
  @volatile private var drawnAtMs = 0L
  private var changes = 0L
  private var lastSampleMs = 0L

  /** Follows the queries of the session's application; once is enough. */
  def follow(session: SparkSession): Unit = session match {
    case s: classic.SparkSession => synchronized {
      if (context ne s.sparkContext) {
        context = s.sparkContext
        queries.clear()
        totals.clear()
        // a queue of its own: drawing and sampling hold nobody up
        context.listenerBus.addToQueue(new Listener(context), "spark-llm-progress")
      }
    }
    case _ =>
  }

  /** Queries with a call, running or just ended, oldest first. */
  def current: Seq[Query] = synchronized(queries.values.toSeq)

  /** The query that an execution belongs to. */
  def query(rootId: Long): Option[Query] = synchronized(queries.get(rootId))

  /**
   * What `json` says when a query with a call has started or ended since `version`; at the latest after `waitMs`.
   *
   * @param version of the last answer; 0 at first
   */
  def poll(version: Long, waitMs: Long): String = {
    drawnAtMs = System.currentTimeMillis() + waitMs
    val end = System.currentTimeMillis() + waitMs
    synchronized {
      while (changes == version && System.currentTimeMillis() < end) wait(math.max(1, end - System.currentTimeMillis()))
    }
    json
  }

  /** Somebody in the driver's Python draws. */
  def drawnElsewhere: Boolean = System.currentTimeMillis() - drawnAtMs < AttachedForMs

  /** Does a query with a call run? */
  def active: Boolean = current.exists(_.endedMs.isEmpty)

  def json: String = Resources.write(Map[String, Any](
    "version" -> synchronized(changes),
    "now_ms" -> System.currentTimeMillis(),
    "queries" -> current.map(q => ProgressJson(q, totals.of)).filter(_.nonEmpty)))

  private def changed(): Unit = {
    changes += 1
    notifyAll()
  }

  private class Listener(context: SparkContext) extends SparkListener {
    override def onOtherEvent(event: SparkListenerEvent): Unit = event match {
      case s: SparkListenerSQLExecutionStart => started(s)
      case e: SparkListenerSQLExecutionEnd => ended(e)
      case _ =>
    }

    override def onTaskEnd(event: SparkListenerTaskEnd): Unit = if (current.nonEmpty) {
      totals.ended(event.taskInfo.taskId, if (event.taskInfo.successful) event.taskInfo.accumulables.toSeq else Nil)
      sample()
    }

    override def onExecutorMetricsUpdate(event: SparkListenerExecutorMetricsUpdate): Unit = if (current.nonEmpty) {
      event.accumUpdates.foreach { case (task, _, _, values) => totals.running(task, values) }
      sample()
    }

    private def started(event: SparkListenerSQLExecutionStart): Unit = {
      val root = event.rootExecutionId.getOrElse(event.executionId)
      Option(SQLExecution.getQueryExecution(event.executionId)).foreach { execution =>
        if (Try(PlannedCalls(execution.executedPlan)).toOption.exists(_.nonEmpty)) Progress.synchronized {
          val query = queries.getOrElseUpdate(root, new Query(root, event.time))
          query.executions :+= execution
          query.open += 1
          changed()
        }
      }
      if (current.nonEmpty) ProgressWriter.follow(context)
    }

    private def ended(event: SparkListenerSQLExecutionEnd): Unit = Progress.synchronized {
      queries.values.find(q => q.executions.exists(_ eq event.qe)).foreach { query =>
        query.open -= 1
        query.error = query.error.orElse(event.errorMessage.filter(_.nonEmpty))
        if (query.open == 0) {
          query.endedMs = Some(event.time)
          query.history.add(HistoryPoint.of(event.time, query.calls, totals.of))
        }
        val over = queries.values.filter(_.endedMs.isDefined).map(_.id).toSeq
        over.dropRight(MaxEnded).foreach(queries.remove)
        if (queries.values.forall(_.endedMs.isDefined)) totals.clear()
        changed()
      }
    }

    private def sample(): Unit = {
      val now = System.currentTimeMillis()
      if (now - lastSampleMs >= SampleMs) {
        lastSampleMs = now
        current.filter(_.endedMs.isEmpty).foreach(q => q.history.add(HistoryPoint.of(now, q.calls, totals.of)))
      }
    }
  }
}
