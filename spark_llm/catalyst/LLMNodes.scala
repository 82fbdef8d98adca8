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
 */
case class LLMEval(
    call: LLMCall,
    guard: Option[Expression],
    result: AttributeReference,
    child: LogicalPlan,
    layout: Layout = Layout.Undecided) extends UnaryNode {
  override def output: Seq[Attribute] = child.output :+ result
  override def producedAttributes: AttributeSet = AttributeSet(Seq(result))
  override def maxRows: Option[Long] = child.maxRows
  override protected lazy val validConstraints: ExpressionSet = child.constraints
  override def simpleString(maxFields: Int): String = LLMEval.describe(call, guard, result, layout)
  override protected def withNewChildInternal(newChild: LogicalPlan): LLMEval = copy(child = newChild)
}

object LLMEval {
  /** The line of EXPLAIN, the same for the logical and the physical node. */
  def describe(call: LLMCall, guard: Option[Expression], result: Attribute, layout: Layout): String =
    s"LLMEval [$call AS ${result.sql}#${result.exprId.id}]" + guard.map(g => s", onlyIf=$g").getOrElse("") +
      (if (layout.decided) s", ${layout.describe(call.fieldNames)}" else "")
}
