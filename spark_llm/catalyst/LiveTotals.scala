package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.scheduler.AccumulableInfo

/**
 * Values of the calls' metrics while their tasks run.
 * {{{
 *   heartbeat of task 7   requests 40 -> 55      total += 15
 *   end of task 7         requests 60            total += 5
 *   task 7 failed                                total -= 55
 * }}}
 */
class LiveTotals {
  private val totals = mutable.LongMap.empty[Long]
  private val tasks = mutable.LongMap.empty[Map[Long, Long]]

  def of(metric: Long): Long = synchronized(totals.getOrElse(metric, 0L))

  def clear(): Unit = synchronized {
    totals.clear()
    tasks.clear()
  }

  /** @param values what the task has counted so far */
  def running(task: Long, values: Seq[AccumulableInfo]): Unit = synchronized {
    val now = counts(values)
    if (now.nonEmpty) {
      replace(tasks.getOrElse(task, Map.empty), now)
      tasks(task) = now
    }
  }

  /** @param values what it counted in all; none for a task that failed */
  def ended(task: Long, values: Seq[AccumulableInfo]): Unit = synchronized {
    replace(tasks.remove(task).getOrElse(Map.empty), counts(values))
  }

  private def replace(before: Map[Long, Long], now: Map[Long, Long]): Unit = {
    before.foreach { case (id, n) => totals(id) = totals.getOrElse(id, 0L) - n }
    now.foreach { case (id, n) => totals(id) = totals.getOrElse(id, 0L) + n }
  }

  private def counts(values: Seq[AccumulableInfo]): Map[Long, Long] = values.iterator.flatMap { info =>
    info.update match {
      case Some(n: Long) if info.metadata.contains(LiveTotals.OfSql) => Some(info.id -> n)
      case _ => None
    }
  }.toMap
}

object LiveTotals {
  private val OfSql = org.apache.spark.util.AccumulatorContext.SQL_ACCUM_IDENTIFIER
}
