package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.catalog.{CatalogStatistics, HiveTableRelation}
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.execution.datasources.LogicalRelation
import org.apache.spark.sql.types._
import org.apache.spark.unsafe.types.UTF8String

/**
 * How long a plan's values are as text, and how many of them differ. From ANALYZE TABLE ... FOR COLUMNS where somebody
 * ran it, whether or not Spark's own cost-based rules are on; else a width by type, and all rows taken as different.
 */
class FieldSizes(plan: LogicalPlan) {
  import FieldSizes._

  private lazy val leaves = plan.collectLeaves()
  private lazy val computed = AttributeMap(plan.collect {
    case Project(list, _) => list
    case a: Aggregate => a.aggregateExpressions
  }.flatten.collect { case a: Alias => a.toAttribute -> a.child })

  /** Expected length of the value's text, in characters. */
  def chars(e: Expression): Double = e match {
    case Literal(s: UTF8String, _: StringType) => s.numChars.toDouble
    case a: Attribute => computed.get(a).map(chars).orElse(column(a).flatMap(_.avgChars)).getOrElse(width(a.dataType))
    case c: Cast => chars(c.child)
    case c: Concat => c.children.map(chars).sum
    case other if other.dataType.isInstanceOf[StringType] =>
      other.references.toSeq.filter(_.dataType.isInstanceOf[StringType]) match {
        case Seq() => width(other.dataType)
        case read => read.map(chars).sum
      }
    case other => width(other.dataType)
  }

  /** Expected share of rows whose fields are new, 0 to 1; 1 where nothing is known. */
  def distinctShare(fields: Seq[Expression]): Double = {
    val sources = fields.filterNot(_.foldable).map { case a: Attribute => source(a); case _ => None }
    val known = sources.flatten
    if (known.isEmpty || known.size < sources.size) 1.0
    else {
      val rows = known.map(_.rows).max
      if (rows <= 0) 1.0 else math.min(1.0, known.map(_.distinct.max(1.0)).product / rows)
    }
  }

  private def source(a: Attribute): Option[Distinct] = computed.get(a) match {
    case Some(from: Attribute) => source(from)
    case Some(_) => None
    case None => column(a).flatMap(c => for (d <- c.distinct; r <- c.rows) yield Distinct(d, r))
  }

  private def column(a: Attribute): Option[Column] =
    leaves.find(_.outputSet.contains(a)).flatMap {
      case l: LogicalRelation => l.catalogTable.flatMap(_.stats).flatMap(cataloged(_, a))
      case h: HiveTableRelation => h.tableMeta.stats.flatMap(cataloged(_, a))
      case leaf => leaf.stats.attributeStats.get(a).map { s =>
        Column(s.avgLen.map(_.toDouble), s.distinctCount.map(_.toDouble), leaf.stats.rowCount.map(_.toDouble), a)
      }
    }

  private def cataloged(stats: CatalogStatistics, a: Attribute): Option[Column] = stats.colStats.get(a.name).map { s =>
    Column(s.avgLen.map(_.toDouble), s.distinctCount.map(_.toDouble), stats.rowCount.map(_.toDouble), a)
  }
}

object FieldSizes {
  private case class Distinct(distinct: Double, rows: Double)

  private case class Column(avgBytes: Option[Double], distinct: Option[Double], rows: Option[Double], a: Attribute) {
    // bytes of a number say nothing about the length of its text
    def avgChars: Option[Double] = avgBytes.filter(_ => a.dataType.isInstanceOf[StringType])
  }

  private def width(t: DataType): Double = t match {
    case BooleanType => 5
    case DateType => 12
    case TimestampType | TimestampNTZType => 28
    case _: NumericType => 6
    case a: ArrayType => 5 * width(a.elementType)
    case s: StructType => s.map(f => f.name.length + 4 + width(f.dataType)).sum
    case m: MapType => 5 * (width(m.keyType) + width(m.valueType))
    case _ => 20
  }
}
