package org.apache.spark.sql.llm

import scala.collection.mutable.ArrayBuffer

/**
 * What the calls of a query had counted at a time.
 *
 * @param promptTokens with those found in the prefix cache; all counts since the query's start
 */
case class HistoryPoint(
    atMs: Long, requests: Long, promptTokens: Long, cachedPromptTokens: Long, generatedTokens: Long)

object HistoryPoint {
  /** @param total the value of a metric, by its accumulator's id */
  def of(atMs: Long, calls: Seq[PlannedCalls.Call], total: Long => Long): HistoryPoint = {
    def sum(metric: String): Long = calls.flatMap(_.latest).map(e => total(e.metrics(metric).id)).sum
    HistoryPoint(atMs, sum(LLMMetrics.Requests), sum(LLMMetrics.PromptTokens), sum(LLMMetrics.CachedPromptTokens),
      sum(LLMMetrics.GeneratedTokens))
  }
}

/** Points in time order, at most `Most` of them: when it is full, every second one is dropped. */
class History {
  private val points = ArrayBuffer.empty[HistoryPoint]
  private var every = 1
  private var seen = 0L

  def add(point: HistoryPoint): Unit = synchronized {
    seen += 1
    if (points.isEmpty || seen % every == 0) points += point
    if (points.size > History.Most) {
      val kept = points.zipWithIndex.collect { case (p, i) if i % 2 == 0 => p }
      points.clear()
      points ++= kept
      every *= 2
    }
  }

  def all: Seq[HistoryPoint] = synchronized(points.toVector)
}

object History {
  private val Most = 480
}
