package org.apache.spark.sql.llm

import java.util.{Collections, Properties, WeakHashMap}

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path

import org.apache.spark.internal.Logging
import org.apache.spark.sql.{classic, SparkSession}
import org.apache.spark.sql.execution.QueryExecution
import org.apache.spark.sql.util.QueryExecutionListener
import org.apache.spark.util.ThreadUtils

/**
 * What becomes of stored answers when a query with calls has ended well, in the background: a query never waits for it,
 * and what it could not do the next one does.
 * {{{
 *   query starts  ->  CacheMove   finished files go to spark.llm.cache.table, where one is set
 *   query ends    ->  CacheMove, then CacheTrim   the folder is kept below spark.llm.cache.maxSize, small files merged
 * }}}
 */
object CacheUpkeep extends Logging {
  /** Files are deleted this long after they were written or moved: who has listed them may still read them. */
  val GraceMs: Long = 3600L * 1000

  /** Begins the description of each Spark job that is ours, by which metrics.last_query passes over it. */
  val Description = "spark_llm: "

  private val followed = Collections.synchronizedMap(new WeakHashMap[SparkSession, java.lang.Boolean])
  private lazy val thread = ThreadUtils.newDaemonSingleThreadExecutor("spark-llm-cache-upkeep")

  /** Looks after the session's queries from now on; once is enough. */
  def follow(session: SparkSession): Unit = session match {
    case s: classic.SparkSession if followed.putIfAbsent(s, true) == null => s.listenerManager.register(Listener)
    case _ =>
  }

  /** Returns when nothing is left to do for queries that have ended. */
  def settle(session: SparkSession): Unit = {
    session.sparkContext.listenerBus.waitUntilEmpty()
    thread.submit((() => ()): Runnable).get()
  }

  /**
   * For the folders and tables of these calls; its own queries have no calls, and so lead to nothing here.
   *
   * @param over the query has ended
   */
  def begin(session: classic.SparkSession, caches: Seq[CallCache], over: Boolean): Unit =
    if (caches.nonEmpty) thread.execute(() => run(session, caches, over))

  private def run(session: classic.SparkSession, caches: Seq[CallCache], over: Boolean): Unit = {
    // of the thread that came first, such as its query and its job group
    session.sparkContext.setLocalProperties(new Properties)
    session.sparkContext.setJobDescription(Description + "stored answers move to their table")
    session.withActive {
      caches.groupBy(c => new Path(c.folder).getParent).foreach { case (root, calls) =>
        calls.flatMap(_.table).distinct.map(AnswerTable(_)).foreach { table =>
          attempt(session, s"answers stay in $root, not moved to ${table.name}")(CacheMove(session, root, table)())
        }
        if (over) attempt(session, s"$root stays as large as it is")(CacheTrim(session, root)(calls.distinct))
      }
    }
  }

  private def attempt(session: SparkSession, otherwise: String)(body: => Unit): Unit =
    try body
    catch {
      case NonFatal(e) if session.sparkContext.isStopped => logInfo(otherwise, e)
      case NonFatal(e) => logWarning(s"$otherwise: ${e.getMessage}", e)
    }

  private object Listener extends QueryExecutionListener {
    override def onFailure(function: String, query: QueryExecution, error: Exception): Unit = ()
    override def onSuccess(function: String, query: QueryExecution, nanoseconds: Long): Unit =
      begin(query.sparkSession, PlannedCalls(query.executedPlan).flatMap(_.planned.cache), over = true)
  }
}
