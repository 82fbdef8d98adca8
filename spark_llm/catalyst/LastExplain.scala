package org.apache.spark.sql.llm

import java.util.{Collections, WeakHashMap}

import org.apache.spark.sql.{classic, SparkSession}
import org.apache.spark.sql.execution.QueryExecution
import org.apache.spark.sql.util.QueryExecutionListener

/** The section of EXPLAIN about the last query of a session that had a call, with its actual figures. */
object LastExplain {
  private val texts = Collections.synchronizedMap(new WeakHashMap[SparkSession, String])

  /** Empty before the first such query. */
  def text(session: SparkSession): String = texts.getOrDefault(session, "")

  /** Keeps the session's texts from now on; once is enough. */
  def follow(session: SparkSession): Unit = session match {
    case s: classic.SparkSession if texts.putIfAbsent(s, "") == null => s.listenerManager.register(Listener)
    case _ =>
  }

  private object Listener extends QueryExecutionListener {
    override def onSuccess(function: String, query: QueryExecution, nanoseconds: Long): Unit = keep(query)
    override def onFailure(function: String, query: QueryExecution, error: Exception): Unit = keep(query)

    private def keep(query: QueryExecution): Unit =
      if (PlannedCalls(query.executedPlan).nonEmpty) {
        texts.put(query.sparkSession, ExplainCalls.text(query.executedPlan, over = true))
      }
  }
}
