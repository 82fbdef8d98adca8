package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, UnaryNode}

/**
 * Brings the rows with equal keys into one partition. A node of its own and not Spark's RepartitionByExpression: the
 * optimizer's rules leave it where it is, and MeasureFieldOrder tells it from a repartition of the user.
 *
 * The number of partitions is fixed. Adaptive execution would else merge the few small rows of an expensive call into
 * one task, and one engine would do all the work.
 *
 * @param pending the second of two: MeasureFieldOrder gives it the measured leading fields as keys, or removes it
 * @param spread  hashed as well: the same for all rows that are asked, different for those that are not, whose keys
 *                may all be NULL
 */
case class LLMExchange(
    keys: Seq[Expression],
    partitions: Int,
    pending: Boolean,
    child: LogicalPlan,
    spread: Option[Expression] = None) extends UnaryNode {
  override def output: Seq[Attribute] = child.output
  override def maxRows: Option[Long] = child.maxRows
  override protected lazy val validConstraints: ExpressionSet = child.constraints
  override protected def withNewChildInternal(newChild: LogicalPlan): LLMExchange = copy(child = newChild)
}
