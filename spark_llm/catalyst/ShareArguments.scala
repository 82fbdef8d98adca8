package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * Calls with the same computed fields read the same columns, so that they can share an exchange.
 * {{{
 *   LLMEval [llm(q, f#2)] (Project [*, upper(x) AS f#2] (LLMEval [llm(p, f#1)] (Project [*, upper(x) AS f#1])))
 *     ->  LLMEval [llm(q, f#1)] (LLMEval [llm(p, f#1)] (Project [*, upper(x) AS f#1]))
 * }}}
 */
object ShareArguments {
  def apply(plan: LogicalPlan): LogicalPlan = plan.transformUp {
    case e @ LLMEval(call, _, _, project @ Project(list, child), _, _, _) =>
      val computed = list.collect { case a: Alias if a.name == CallArguments.Name && a.deterministic => a }
      val (below, same) = computed.foldLeft((child, Map.empty[ExprId, Attribute])) { case ((plan, map), alias) =>
        alias.child match {
          // the call right below was given another column already
          case a: Attribute => (plan, map + (alias.exprId -> a))
          case e => find(plan, e).fold((plan, map)) { case (exposed, a) => (exposed, map + (alias.exprId -> a)) }
        }
      }
      if (same.isEmpty) e
      else {
        val rest = list.filterNot(a => same.contains(a.exprId))
        val kept = rest ++ same.values.toSeq.distinct.filterNot(a => rest.exists(_.exprId == a.exprId))
        val renamed = call.transform { case a: Attribute => same.getOrElse(a.exprId, a) }.asInstanceOf[LLMCall]
        Project(e.output.map(o => same.get(o.exprId).fold[NamedExpression](o)(a => Alias(a, o.name)(o.exprId))),
          e.copy(call = renamed, child = project.copy(projectList = kept, child = below)))
      }
  }

  /** The plan with the value of `e` in its output, if something below computes it, and its column. */
  private def find(plan: LogicalPlan, e: Expression): Option[(LogicalPlan, Attribute)] = plan match {
    case p @ Project(list, child) =>
      list.collectFirst {
        case a: Alias if a.name == CallArguments.Name && a.child.semanticEquals(e) => (p, a.toAttribute)
      }.orElse {
        if (!e.references.subsetOf(child.outputSet)) None
        else find(child, e).map { case (c, a) =>
          (Project(if (list.exists(_.exprId == a.exprId)) list else list :+ a, c), a)
        }
      }
    case u @ (_: Filter | _: LLMEval) if e.references.subsetOf(u.children.head.outputSet) =>
      find(u.children.head, e).map { case (c, a) => (u.withNewChildren(Seq(c)), a) }
    case _ => None
  }
}
