package org.apache.spark.sql.llm

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule

/**
 * Inside Spark's fixed-point batch, which does not move anything past LLMFilter and opaque calls: lets cheap work pass.
 * {{{
 *   Filter(cheap, LLMFilter(llm, child))              ->  LLMFilter(llm, Filter(cheap, child))
 *   Filter(cheap, Project([a, llm(x) AS b], child))   ->  Project([a, llm(x) AS b], Filter(cheap, child))
 *   Project(columns, LLMFilter(llm, child))           ->  the same with only the needed columns read below
 * }}}
 * RaiseFilters, when that is done, takes LLM predicates over joins.
 */
case class MoveFilters(session: SparkSession) extends Rule[LogicalPlan] with PredicateHelper {
  private val first = Decision.applied(Decision.MoveFilters, "cheaper predicates run first")

  override def apply(plan: LogicalPlan): LogicalPlan = if (!Calls.in(plan)) plan else plan.transformUp {
    case Filter(condition, f: LLMFilter)
        if LLMConf.moveFilters && condition.deterministic && !Calls.needsModel(condition, f.child) =>
      Decision.behind(f.copy(child = Filter(condition, f.child)), first)
    case f @ Filter(condition, p: Project) if LLMConf.moveFilters && p.projectList.exists(LLMCall.in) =>
      val (cheap, rest) =
        splitConjunctivePredicates(condition).partition(c => c.deterministic && !Calls.needsModel(c, p))
      val below = cheap.map(replaceAlias(_, getAliasMap(p))).filter(_.deterministic)
      if (below.isEmpty || below.size < cheap.size) f
      else {
        val lowered = Decision.on(p.copy(child = Filter(below.reduce(And), p.child)), first)
        rest.reduceOption(And).fold[LogicalPlan](lowered)(Filter(_, lowered))
      }
    case p @ Project(_, f: LLMFilter) if !f.child.outputSet.subsetOf(needed(p, f)) =>
      p.copy(child = f.copy(child = Project(f.child.output.filter(needed(p, f).contains), f.child)))
  }

  private def needed(p: Project, f: LLMFilter): AttributeSet = p.references ++ f.condition.references
}
