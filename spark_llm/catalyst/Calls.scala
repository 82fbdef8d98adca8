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

  /** Are there calls that have no LLMEval yet? */
  def waiting(plan: LogicalPlan): Boolean = plan.exists {
    case _: LLMFilter => true
    case _: LLMEval => false
    case node => node.expressions.exists(LLMCall.in)
  }

  /** Does this predicate contain a call, or read a column that a Project below computes with one? */
  def needsModel(predicate: Expression, child: LogicalPlan): Boolean =
    LLMCall.in(predicate) || predicate.references.intersect(answers(child)).nonEmpty

  /** The columns that Projects right below compute with a call. */
  def answers(plan: LogicalPlan): AttributeSet = plan match {
    case Project(list, child) =>
      val below = answers(child)
      AttributeSet(list.filter(e => LLMCall.in(e) || e.references.intersect(below).nonEmpty).map(_.toAttribute))
    case _: Filter | _: LLMFilter | _: SubqueryAlias => answers(plan.children.head)
    case _ => AttributeSet.empty
  }

  /** The calls of an expression, and those behind the answers' columns that it reads. */
  def behind(e: Expression, child: LogicalPlan): Seq[LLMCall] = of(e) ++ behind(e.references, child)

  private def behind(columns: AttributeSet, plan: LogicalPlan): Seq[LLMCall] = plan match {
    case Project(list, child) =>
      val read = list.filter(columns.contains)
      read.flatMap(of) ++ behind(AttributeSet(read.flatMap(_.references)), child)
    case _: Filter | _: LLMFilter | _: SubqueryAlias => behind(columns, plan.children.head)
    case _ => Nil
  }

  def of(e: Expression): Seq[LLMCall] = e.collect { case c: LLMCall => c }

  /** Marks all calls of a plan; see LLMCall. */
  def opaque(yes: Boolean, plan: LogicalPlan): LogicalPlan =
    plan.transformAllExpressions { case c: LLMCall if c.opaque != yes => c.copy(opaque = yes) }

  /** Draws: sampled calls, and calls over rand(). Each is one of its own, however equal they look. */
  def draws(call: LLMCall): Boolean = call.options.sampled || !call.children.forall(_.deterministic)

  /** Two calls with equal keys are one question. */
  def key(call: LLMCall): AnyRef =
    if (draws(call) || !LLMConf.shareCalls) new Identity(call) else call.canonicalized

  /** Puts columns in the place of calls, one alias for each question; the aliases go into a Project below. */
  class Extractor {
    private val found = mutable.LinkedHashMap.empty[AnyRef, Alias]
    def aliases: Seq[Alias] = found.values.toSeq
    def isEmpty: Boolean = found.isEmpty

    /** Outermost calls become columns; a call inside another's arguments goes along with it. */
    def calls(e: Expression): Expression = e.transformDown { case c: LLMCall => column(key(c), c) }

    /** A grouping expression becomes a column as a whole; equal ones are one, since SQL groups by it. */
    def grouping(e: Expression): Expression = if (LLMCall.in(e)) column(e.canonicalized, e) else e

    /** The expression becomes a column as a whole, so that its CASE and AND still guard its calls. */
    def whole(e: Expression): Expression = e match {
      case order: SortOrder => order.copy(child = whole(order.child))
      case _ if !LLMCall.in(e) => e
      case _ => known(e).getOrElse(column(if (of(e).exists(draws)) new Identity(e) else e.canonicalized, e))
    }

    def known(e: Expression): Option[Attribute] =
      if (LLMCall.in(e)) found.get(e.canonicalized).map(_.toAttribute) else None

    private def column(key: AnyRef, e: Expression): Attribute =
      found.getOrElseUpdate(key, Alias(e, LLMFunction.name)()).toAttribute
  }
}
