package org.apache.spark.sql.llm

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule

/**
 * Inside Spark's fixed-point batch, which does not know LLMFilter: lets cheap work pass below it.
 * {{{
 *   Filter(cheap, LLMFilter(llm, child))      ->  LLMFilter(llm, Filter(cheap, child))
 *   Project(columns, LLMFilter(llm, child))   ->  the same with only the needed columns read below
 * }}}
 */
case class MoveFilters(session: SparkSession) extends Rule[LogicalPlan] {

  override def apply(plan: LogicalPlan): LogicalPlan =
    if (!plan.exists(_.isInstanceOf[LLMFilter])) plan else plan.transformUp {
      case Filter(condition, f: LLMFilter)
          if LLMConf.predicateOrder && condition.deterministic && !Calls.needsModel(condition, f.child) =>
        f.copy(child = Filter(condition, f.child))
      case p @ Project(_, f: LLMFilter) if !f.child.outputSet.subsetOf(needed(p, f)) =>
        p.copy(child = f.copy(child = Project(f.child.output.filter(needed(p, f).contains), f.child)))
    }

  private def needed(p: Project, f: LLMFilter): AttributeSet = p.references ++ f.condition.references
}
