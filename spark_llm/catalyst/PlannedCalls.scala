package org.apache.spark.sql.llm

import org.apache.spark.sql.execution._
import org.apache.spark.sql.execution.adaptive._
import org.apache.spark.sql.execution.columnar.InMemoryTableScanExec

/** The calls of a physical plan in the order in which they run; also those of subqueries, commands, cached tables. */
object PlannedCalls {
  /**
   * @param planned as the query was planned
   * @param ran     the same node after adaptive execution, where it got rows
   * @param gone    adaptive execution has taken it out of the plan
   * @param latest  the same node as the plan now stands, whether it got rows or not
   */
  case class Call(planned: LLMEvalExec, ran: Option[LLMEvalExec], gone: Boolean, latest: Option[LLMEvalExec])

  def apply(plan: SparkPlan): Seq[Call] = {
    val now = nodes(plan, first = false).map(e => e.result.exprId -> e).toMap
    val first = nodes(plan, first = true)
    once(first.distinctBy(_.result.exprId)).map { e =>
      val same = now.get(e.result.exprId)
      Call(e, same.filter(rows(_) > 0), gone = same.isEmpty, same)
    }
  }

  def rows(e: LLMEvalExec): Long = e.metrics(LLMMetrics.Rows).value

  /** Has the last stage been planned? A call that is then gone was never needed. */
  def finished(plan: SparkPlan): Boolean = plan match {
    case a: AdaptiveSparkPlanExec => a.isFinalPlan
    case c: CommandResultExec => finished(c.commandPhysicalPlan)
    case other => other.children.exists(finished)
  }

  // ShareCalls puts copies of one call in several places, and one of them runs
  private def once(calls: Seq[LLMEvalExec]): Seq[LLMEvalExec] = calls.foldLeft(Seq.empty[LLMEvalExec]) { (kept, e) =>
    val copy = e.call.notes.exists(n => n.applied && n.rule == Decision.ShareCalls) && kept.exists(_.sameResult(e))
    if (copy) kept else kept :+ e
  }

  private def nodes(plan: SparkPlan, first: Boolean): Seq[LLMEvalExec] = {
    val below = plan match {
      case a: AdaptiveSparkPlanExec => Seq(if (first) a.initialPlan else a.executedPlan)
      case q: QueryStageExec => Seq(q.plan)
      case c: CommandResultExec => Seq(c.commandPhysicalPlan)
      case m: InMemoryTableScanExec => Seq(m.relation.cachedPlan)
      case other => other.children
    }
    val here = plan match {
      case e: LLMEvalExec => Seq(e)
      case _ => Nil
    }
    (below ++ plan.subqueries).flatMap(nodes(_, first)) ++ here
  }
}
