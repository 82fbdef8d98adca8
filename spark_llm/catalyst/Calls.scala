package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/** Questions that several rules ask about expressions and plans. */
object Calls {
  def in(plan: LogicalPlan): Boolean = plan.exists {
    case _: LLMFilter => true
    case node => node.expressions.exists(LLMCall.in)
  }

  /** Does this predicate contain a call, or read a column that a Project below computes with one? */
  def needsModel(predicate: Expression, child: LogicalPlan): Boolean =
    LLMCall.in(predicate) || predicate.references.intersect(answers(child)).nonEmpty

  private def answers(plan: LogicalPlan): AttributeSet = plan match {
    case Project(list, child) =>
      val below = answers(child)
      AttributeSet(list.filter(e => LLMCall.in(e) || e.references.intersect(below).nonEmpty).map(_.toAttribute))
    case _: Filter | _: LLMFilter | _: SubqueryAlias => answers(plan.children.head)
    case _ => AttributeSet.empty
  }

  /** Marks all calls of a plan; see LLMCall. */
  def opaque(yes: Boolean, plan: LogicalPlan): LogicalPlan =
    plan.transformAllExpressions { case c: LLMCall if c.opaque != yes => c.copy(opaque = yes) }

  /** Two calls with equal keys are one question. Sampled calls, and calls over rand(), are draws, each its own. */
  def key(call: LLMCall): AnyRef =
    if (call.options.sampled || !call.children.forall(_.deterministic)) new Identity(call) else call.canonicalized

  private class Identity(val call: LLMCall) {
    override def hashCode: Int = System.identityHashCode(call)
    override def equals(other: Any): Boolean = other match {
      case o: Identity => o.call eq call
      case _ => false
    }
  }

  /** Puts columns in the place of calls, one alias for each question; the aliases go into a Project below. */
  class Extractor {
    private val found = mutable.LinkedHashMap.empty[AnyRef, Alias]
    def aliases: Seq[Alias] = found.values.toSeq
    def isEmpty: Boolean = found.isEmpty

    /** Outermost calls become columns; a call inside another's arguments goes along with it. */
    def calls(e: Expression): Expression = e.transformDown { case c: LLMCall => column(key(c), c) }

    /** The expression becomes a column as a whole, so that its CASE and AND still guard its calls. */
    def whole(e: Expression): Expression = e match {
      case order: SortOrder => order.copy(child = whole(order.child))
      case _ => if (LLMCall.in(e)) column(e.canonicalized, e) else e
    }

    def known(e: Expression): Option[Attribute] =
      if (LLMCall.in(e)) found.get(e.canonicalized).map(_.toAttribute) else None

    private def column(key: AnyRef, e: Expression): Attribute =
      found.getOrElseUpdate(key, Alias(e, LLMFunction.name)()).toAttribute
  }
}
