package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * The same question further down the plan, made visible here: SELECT, WHERE, HAVING and ORDER BY share one answer.
 * Only unguarded answers count, since a guarded one is missing for some rows.
 */
object ReuseAnswers {
  /** The plan with the answer in its output, and the answer's column. */
  def apply(plan: LogicalPlan, call: LLMCall): Option[(LogicalPlan, Attribute)] =
    if (!LLMConf.shareCalls || Calls.draws(call)) None else find(plan, call)

  private def find(plan: LogicalPlan, call: LLMCall): Option[(LogicalPlan, Attribute)] = plan match {
    case e: LLMEval if e.guard.isEmpty && (e.call.semanticEquals(call) || written(e).semanticEquals(call)) =>
      val note = Decision.applied(Decision.ShareCalls, "the answer is used again further up")
      Some((e.copy(call = e.call.noted(call.notes :+ note: _*)), e.result))
    case Project(list, child) =>
      val renamed = AttributeMap(list.collect { case a @ Alias(from: Attribute, _) => a.toAttribute -> from })
      val below = call.transform { case a: Attribute => renamed.getOrElse(a, a) }.asInstanceOf[LLMCall]
      if (!below.references.subsetOf(child.outputSet)) None
      else find(child, below).map { case (c, a) =>
        (Project(if (list.exists(_.exprId == a.exprId)) list else list :+ a, c), a)
      }
    case u @ (_: Filter | _: LLMEval | _: Sort | _: GlobalLimit | _: LocalLimit)
        if call.references.subsetOf(u.children.head.outputSet) =>
      find(u.children.head, call).map { case (c, a) => (u.withNewChildren(Seq(c)), a) }
    case j @ Join(left, right, Inner | Cross, _, _) =>
      if (call.references.subsetOf(left.outputSet)) {
        find(left, call).map { case (c, a) => (j.copy(left = c), a) }
      } else if (call.references.subsetOf(right.outputSet)) {
        find(right, call).map { case (c, a) => (j.copy(right = c), a) }
      } else None
    case j @ Join(left, _, LeftOuter | LeftSemi | LeftAnti, _, _) if call.references.subsetOf(left.outputSet) =>
      find(left, call).map { case (c, a) => (j.copy(left = c), a) }
    case _ => None
  }

  /** The call before CallArguments moved its arguments into a Project. */
  private def written(e: LLMEval): LLMCall = arguments(e.child) match {
    case Project(list, _) =>
      val computed = AttributeMap(list.collect {
        case a: Alias if a.name == CallArguments.Name => a.toAttribute -> a.child
      })
      e.call.transform { case a: Attribute => computed.getOrElse(a, a) }.asInstanceOf[LLMCall]
    case _ => e.call
  }

  private def arguments(plan: LogicalPlan): LogicalPlan = plan match {
    case e: LLMEval => arguments(e.child)
    case other => other
  }
}
