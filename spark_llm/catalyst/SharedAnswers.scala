package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * A shuffle that ends a part of the plan which stands there more than once; Spark runs equal shuffles once. All copies
 * keep all columns: it counts as a reader of each, so that pruning cannot make one copy differ from another.
 */
case class SharedAnswers(child: LogicalPlan) extends UnaryNode {
  override def output: Seq[Attribute] = child.output
  override lazy val references: AttributeSet = child.outputSet
  override def maxRows: Option[Long] = child.maxRows
  override protected lazy val validConstraints: ExpressionSet = child.constraints
  override protected def withNewChildInternal(newChild: LogicalPlan): SharedAnswers = copy(child = newChild)
}
