package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/** A predicate with a call in it. Spark's own rules do not know this node, so they neither move nor copy it. */
case class LLMFilter(condition: Expression, child: LogicalPlan) extends UnaryNode {
  override def output: Seq[Attribute] = child.output
  override def maxRows: Option[Long] = child.maxRows
  override protected lazy val validConstraints: ExpressionSet = child.constraints
  override protected def withNewChildInternal(newChild: LogicalPlan): LLMFilter = copy(child = newChild)
}

/**
 * Answers one call for every row of the child.
 *
 * @param guard  the call matters only where this is true; other rows get NULL without a request
 * @param result the new column
 * @param layout decided by LayOutCalls
 * @param stored text of an answer that an earlier query kept, from CacheAnswers; NULL: ask. Read here and not passed on
 * @param cache  where new answers are kept
 */
case class LLMEval(
    call: LLMCall,
    guard: Option[Expression],
    result: AttributeReference,
    child: LogicalPlan,
    layout: Layout = Layout.Undecided,
    stored: Option[Attribute] = None,
    cache: Option[CallCache] = None) extends UnaryNode {
  override def output: Seq[Attribute] = LLMEval.output(child.output, stored, result)
  override def producedAttributes: AttributeSet = AttributeSet(Seq(result))
  override def maxRows: Option[Long] = child.maxRows
  override protected lazy val validConstraints: ExpressionSet = child.constraints
  override def simpleString(maxFields: Int): String = LLMEval.describe(call, guard, result, layout, stored)
  override protected def withNewChildInternal(newChild: LogicalPlan): LLMEval = copy(child = newChild)
}

object LLMEval {
  def output(below: Seq[Attribute], stored: Option[Attribute], result: Attribute): Seq[Attribute] =
    below.filterNot(a => stored.exists(_.exprId == a.exprId)) :+ result

  /** The line of EXPLAIN, the same for the logical and the physical node. */
  def describe(
      call: LLMCall,
      guard: Option[Expression],
      result: Attribute,
      layout: Layout,
      stored: Option[Attribute]): String =
    s"LLMEval [$call AS ${result.sql}#${result.exprId.id}]" + guard.map(g => s", onlyIf=$g").getOrElse("") +
      stored.map(a => s", stored=$a").getOrElse("") +
      (if (layout.decided) s", ${layout.describe(call.fieldNames)}" else "")
}
