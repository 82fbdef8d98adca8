package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.types.{BooleanType, StringType}
import org.apache.spark.unsafe.types.UTF8String

/**
 * The share of rows that an LLM predicate is expected to keep: from the option `selectivity`, else from what earlier
 * queries of this application saw (PredicateHistory), else assumed by the predicate's form.
 *
 * The assumed shares are those of System R (Selinger et al., Access path selection, 1979, table 1): 1/10 for equality,
 * 1/3 for an open range, 1/4 for BETWEEN. Differs from the paper: yes-or-no questions count 1/2.
 */
object Selectivity {
  case class Estimate(value: Double, source: String)

  private val Even = 0.5
  private val Equality = 0.1
  private val Range = 1.0 / 3
  private val YesNo = Set("yes", "no", "true", "false", "y", "n")

  def of(predicate: Expression, plan: LogicalPlan): Estimate =
    Calls.behind(predicate, plan).flatMap(_.options.selectivity).headOption.map(Estimate(_, "option"))
      .orElse(PredicateHistory.share(predicate).map(Estimate(_, "history")))
      .getOrElse(Estimate(assumed(predicate), "assumed"))

  private[llm] def assumed(e: Expression): Double = e match {
    case And(l, r) => assumed(l) * assumed(r)
    case Or(l, r) => 1 - (1 - assumed(l)) * (1 - assumed(r))
    case Not(p) => 1 - assumed(p)
    case EqualTo(_, Literal(s: UTF8String, _: StringType)) if YesNo(s.toString.toLowerCase) => Even
    case EqualTo(_, Literal(_, BooleanType)) => Even
    case _: EqualTo | _: EqualNullSafe => Equality
    case In(_, list) => math.min(Even, list.size * Equality)
    case InSet(_, set) => math.min(Even, set.size * Equality)
    case _: LessThan | _: LessThanOrEqual | _: GreaterThan | _: GreaterThanOrEqual => Range
    case _: StartsWith | _: EndsWith | _: Contains | _: Like | _: RLike => Equality
    case _: IsNull => Equality
    case _: IsNotNull => 1 - Equality
    case Literal(value, BooleanType) => if (value == true) 1 else 0
    case _ => Even
  }
}
