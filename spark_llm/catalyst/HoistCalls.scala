package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * Computes calls after a limit instead of before it, so that no question is asked about a row that is cut off.
 * {{{
 *   Limit 5 (Project [a, llm(x)])                  ->  Project [a, llm(x)] (Limit 5 (Project [a, x]))
 *   Limit 5 (Sort a (Project [a, llm(x)]))         ->  Project [a, llm(x)] (Limit 5 (Sort a (Project [a, x])))
 * }}}
 * Not where the sort needs the answer. Rows and their order stay as they are.
 */
object HoistCalls {
  def apply(plan: LogicalPlan): LogicalPlan = {
    val next = plan.transformDown {
      case limit @ (_: GlobalLimit | _: LocalLimit | _: Offset) =>
        limit.children.head match {
          case p: Project if p.projectList.exists(LLMCall.in) => swap(p, low => limit.withNewChildren(Seq(low)))
          case s @ Sort(_, _, p: Project, _)
              if limit.isInstanceOf[LocalLimit] && p.projectList.exists(LLMCall.in) && !ordersBy(s, p) =>
            swap(p, low => limit.withNewChildren(Seq(s.withNewChildren(Seq(low)))))
          case _ => limit
        }
    }
    if (next.fastEquals(plan)) plan else apply(next)
  }

  private def ordersBy(sort: Sort, p: Project): Boolean = {
    val answers = AttributeSet(p.projectList.filter(LLMCall.in).map(_.toAttribute))
    sort.order.exists(_.references.intersect(answers).nonEmpty)
  }

  /** The calls of `p` above what `around` builds, with the columns they need coming through from below. */
  private def swap(p: Project, around: Project => LogicalPlan): LogicalPlan = {
    val (calls, cheap) = p.projectList.partition(LLMCall.in)
    val needed = AttributeSet(calls.flatMap(_.references)) -- AttributeSet(cheap.map(_.toAttribute))
    Project(
      p.projectList.map(e => if (LLMCall.in(e)) e else e.toAttribute),
      around(Project(cheap ++ needed.toSeq, p.child)))
  }
}
