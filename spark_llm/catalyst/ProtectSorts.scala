package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions.SortOrder
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * A shuffle between calls and a range shuffle. Spark samples the input of a global sort with a job of its own, which
 * would ask every question twice. Conservative: whether another shuffle will sit between is known only after physical
 * planning, and a spare shuffle of small rows is cheap beside a model.
 */
object ProtectSorts {
  def apply(plan: LogicalPlan): LogicalPlan = {
    val topK = plan.collect {
      case LocalLimit(_, s: Sort) => s
      case LocalLimit(_, Project(_, s: Sort)) => s
    }
    plan.transformUp {
      case s: Sort if s.global && callsBelow(s.child) && !topK.exists(_.order == s.order) =>
        s.copy(child = RebalancePartitions(Nil, s.child))
      case r: RepartitionByExpression if byRange(r) && callsBelow(r.child) =>
        r.copy(child = RebalancePartitions(Nil, r.child))
    }
  }

  private def byRange(r: RepartitionByExpression): Boolean = r.partitionExpressions.exists(_.isInstanceOf[SortOrder])

  private def callsBelow(plan: LogicalPlan): Boolean = plan match {
    case _: LLMEval => true
    case _: RepartitionByExpression | _: RebalancePartitions | _: SharedAnswers => false
    case r: Repartition if r.shuffle => false
    case other => other.children.exists(callsBelow)
  }
}
