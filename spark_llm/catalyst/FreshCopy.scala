package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.sql.catalyst.analysis.MultiInstanceRelation
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan

/** A plan once more, with ids of its own for all columns: both sides of a join must not share any. */
class FreshCopy(original: LogicalPlan) {
  private val ids = mutable.HashMap.empty[ExprId, ExprId]

  val plan: LogicalPlan = original.transformUp {
    // some relations lose statistics when they are copied any other way
    case relation: MultiInstanceRelation =>
      val copy = relation.asInstanceOf[MultiInstanceRelation].newInstance().asInstanceOf[LogicalPlan]
      relation.asInstanceOf[LogicalPlan].output.zip(copy.output).foreach { case (o, n) => ids(o.exprId) = n.exprId }
      copy
    case node => node.transformExpressions {
      case a: AttributeReference => a.withExprId(id(a.exprId))
      case a: Alias => a.copy()(id(a.exprId), a.qualifier, a.explicitMetadata, a.nonInheritableMetadataKeys)
    }
  }

  /** Where a column of the original is in the copy. */
  def apply(a: Attribute): Attribute = a.withExprId(id(a.exprId))

  def in(e: Expression): Expression = e.transform { case a: Attribute => apply(a) }

  private def id(of: ExprId): ExprId = ids.getOrElseUpdate(of, NamedExpression.newExprId)
}
