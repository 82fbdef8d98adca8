package org.apache.spark.sql.llm

import java.util.Locale

import scala.collection.mutable

/** Rows that were answered or failed, and the failures by what was wrong: of one task, or of a whole call. */
case class RowCounts(rows: Long, failed: Long, errors: Map[(String, String), Long])

/**
 * `spark.llm.errors.maxFailedRatio` of one call, over all its tasks; on the driver, no Spark in it. Tasks tell what
 * they counted since they began, so a report that comes twice changes nothing, and a partition's newest attempt
 * replaces the attempts before it.
 *
 * @param partitions of the call; when all are done the ratio is exact and holds for any number of rows
 */
class FailureCounts(allowed: Double, partitions: Int) {
  import FailureCounts._

  private case class Told(attempt: Long, counts: RowCounts, done: Boolean)

  private val told = mutable.HashMap.empty[Int, Told]
  private var stopped: Option[String] = None

  /** Why the query has to stop, if so: message of LLM_TOO_MANY_FAILURES. */
  def report(partition: Int, attempt: Long, counts: RowCounts, done: Boolean): Option[String] = {
    if (told.get(partition).forall(t => t.attempt <= attempt && !(t.done && !done))) {
      told(partition) = Told(attempt, counts, done)
    }
    if (stopped.isEmpty) stopped = judge()
    stopped
  }

  private def judge(): Option[String] = {
    val (rows, failed) = (told.values.map(_.counts.rows).sum, told.values.map(_.counts.failed).sum)
    val last = told.size == partitions && told.values.forall(_.done)
    Option.when(failed > allowed * rows && (rows >= FewRows || last))(text(rows, failed))
  }

  private def text(rows: Long, failed: Long): String = {
    val all = told.values.flatMap(_.counts.errors).groupMapReduce(_._1)(_._2)(_ + _)
    val most = all.toSeq.sortBy { case (error, n) => (-n, error) }.take(Shown).map { case ((condition, message), n) =>
      s"$n x $condition: $message"
    }
    LLMErrors.message("LLM_TOO_MANY_FAILURES", Map(
      "failed" -> count(failed), "rows" -> count(rows), "allowed" -> allowed.toString,
      "errors" -> most.mkString("; ").stripSuffix(".")))
  }

  private def count(n: Long): String = String.format(Locale.ROOT, "%,d", Long.box(n))
}

object FailureCounts {
  /** Fewer rows say too little, until they are all: rows are sorted, and like ones fail together. */
  val FewRows = 1000
  private val Shown = 5
}
