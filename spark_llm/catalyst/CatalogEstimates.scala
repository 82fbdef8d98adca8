package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.catalog.HiveTableRelation
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.execution.datasources.LogicalRelation
import org.apache.spark.sql.types._

/**
 * What ANALYZE TABLE ... FOR COLUMNS left in the catalog about the fields of a call. Spark hands these on above a scan
 * only with spark.sql.cbo.enabled, which is off by default; so a column is followed down to its table here.
 */
object CatalogEstimates {
  /** Estimates in the order of the fields, and the number of rows that they are to be compared with. */
  def apply(call: LLMCall, child: LogicalPlan): (Seq[Option[FieldEstimate]], Option[Double]) = {
    val leaves = child.collectLeaves().flatMap(l => statistics(l).flatMap(_.rowCount)).map(_.toDouble)
    // without selectivities the largest table speaks for the result of joins and filters
    val rows = child.stats.rowCount.map(_.toDouble).orElse(leaves.maxOption).filter(_ > 0)
    (call.fields.map(of(_, child)), rows)
  }

  private def of(field: Expression, child: LogicalPlan): Option[FieldEstimate] = field match {
    case e if e.foldable => Some(FieldEstimate.constant(String.valueOf(e.eval()).length))
    case a: Attribute => trace(a, child)
    case _ => None
  }

  private def trace(a: Attribute, plan: LogicalPlan): Option[FieldEstimate] = plan match {
    case Project(list, child) =>
      list.find(_.exprId == a.exprId).flatMap(source).flatMap(trace(_, child))
    case g: Aggregate =>
      g.aggregateExpressions.find(_.exprId == a.exprId).flatMap(source).flatMap(trace(_, g.child))
    case leaf if leaf.children.isEmpty =>
      for {
        s <- statistics(leaf)
        rows <- s.rowCount if rows > 0
        column <- s.attributeStats.get(a)
        distinct <- column.distinctCount
      } yield {
        val present = 1 - column.nullCount.fold(0.0)(_.toDouble / rows.toDouble)
        val chars = valueChars(a.dataType, column.avgLen)
        FieldEstimate(present * chars, distinct.toDouble + (if (present < 1) 1 else 0), present,
          Some(1 - present).filter(_ > 0))
      }
    case other => other.children.find(_.outputSet.contains(a)).flatMap(trace(a, _))
  }

  /** The column that has as many values as the expression. */
  private def source(e: Expression): Option[Attribute] = e match {
    case a: Attribute => Some(a)
    case Alias(child, _) => source(child)
    case c: Cast => source(c.child)
    case If(_, value, Literal(null, _)) => source(value) // the guard of a call
    case _ => None
  }

  private[llm] def statistics(leaf: LogicalPlan): Option[Statistics] = leaf match {
    case r: LogicalRelation => r.catalogTable.flatMap(_.stats).map(_.toPlanStats(r.output, planStatsEnabled = true))
    case h: HiveTableRelation => h.tableMeta.stats.map(_.toPlanStats(h.output, planStatsEnabled = true))
    case l => Some(l.stats)
  }

  private def valueChars(t: DataType, meanBytes: Option[Long]): Double = t match {
    case _: StringType => meanBytes.fold(20.0)(_.toDouble) + 2
    case BinaryType => meanBytes.fold(20.0)(_.toDouble) * 4 / 3 + 2
    case BooleanType => 5
    case ByteType | ShortType => 3
    case IntegerType | LongType => 6
    case _: NumericType => 8
    case DateType => 12
    case TimestampType | TimestampNTZType => 26
    case other => meanBytes.fold(other.defaultSize.toDouble)(_.toDouble)
  }
}
