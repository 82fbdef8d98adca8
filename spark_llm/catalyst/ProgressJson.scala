package org.apache.spark.sql.llm

import org.apache.spark.sql.execution._
import org.apache.spark.sql.execution.adaptive.{AQEShuffleReadExec, ShuffleQueryStageExec}

/** A query's part of the JSON that spark_llm/progress reads; empty for a query that has no call after all. */
object ProgressJson {
  private val Entries = Seq("spark.llm.progress.enabled", "spark.llm.budget", "spark.llm.price.prompt",
    "spark.llm.price.cached", "spark.llm.price.answer", "spark.llm.engine.kind")

  /** @param total the value of a metric while tasks run, by its accumulator's id */
  def apply(query: Progress.Query, total: Long => Long): Map[String, Any] = {
    val calls = query.calls.filterNot(c => query.endedMs.isEmpty && c.gone)
    if (calls.isEmpty) Map.empty
    else {
      val conf = query.executions.head.sparkSession.conf.getAll
      val bar = query.executions.head.sparkSession.sparkContext.getConf
        .getBoolean("spark.ui.showConsoleProgress", false)
      Map(
        "id" -> query.id,
        "started_ms" -> query.startedMs,
        "ended_ms" -> query.endedMs,
        "failed" -> query.error.isDefined,
        "console_bar" -> bar,
        "conf" -> Entries.flatMap(k => LLMConf.get(conf, k).map(k -> _)).toMap,
        "calls" -> calls.zipWithIndex.map { case (c, i) =>
          val node = c.latest.getOrElse(c.planned)
          val expected = expectedRows(node, calls.map(c => c.latest.getOrElse(c.planned)))
          Map[String, Any](
            "number" -> (i + 1),
            "metrics" -> node.counters.map { case (name, m) =>
              name -> (if (query.endedMs.isDefined) m.value else total(m.id))
            },
            "rows_expected" -> expected.rows,
            "rows_exact" -> expected.exact,
            "bytes_expected" -> expected.bytes,
            "follows" -> expected.follows)
        })
    }
  }

  /**
   * @param rows    that will reach the call
   * @param exact   counted, not estimated
   * @param bytes   of these rows, where counted in the same form
   * @param follows number of a call in the same stage whose answers decide which rows come here
   */
  case class ExpectedRows(
      rows: Option[Long] = None, exact: Boolean = false, bytes: Option[Long] = None, follows: Option[Int] = None)

  private def expectedRows(e: LLMEvalExec, calls: Seq[LLMEvalExec]): ExpectedRows = {
    def below(plan: SparkPlan, whole: Boolean): Option[ExpectedRows] = plan match {
      case s: ShuffleQueryStageExec if s.isMaterialized =>
        val counted = s.getRuntimeStatistics
        counted.rowCount.map(n =>
          ExpectedRows(Some(n.toLong), exact = true, if (whole) Some(counted.sizeInBytes.toLong) else None))
      case r: RangeExec => Some(ExpectedRows(Some(r.numElements.toLong), exact = true))
      case l: LocalTableScanExec => Some(ExpectedRows(Some(l.rows.size.toLong), exact = true))
      case _: SortExec | _: AQEShuffleReadExec | _: InputAdapter | _: WholeStageCodegenExec =>
        below(plan.children.head, whole)
      case _: ProjectExec | _: LLMEvalExec | _: LLMProbeExec => below(plan.children.head, whole = false)
      case f: FilterExec => decider(f.child).map(n => ExpectedRows(follows = Some(n)))
      case _ => None
    }
    def decider(plan: SparkPlan): Option[Int] = plan match {
      case l: LLMEvalExec => Some(calls.indexWhere(_.result.exprId == l.result.exprId) + 1).filter(_ > 0)
      case _: ProjectExec | _: SortExec | _: InputAdapter | _: WholeStageCodegenExec => decider(plan.children.head)
      case _ => None
    }
    below(e.child, whole = true).getOrElse(
      ExpectedRows(e.layout.expected.flatMap(_.rows).filter(_ > 0).map(n => math.ceil(n - 1e-9).toLong)))
  }
}
