package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.expressions.aggregate.{AggregateExpression, AggregateFunction}
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * Takes the calls out of an Aggregate.
 * {{{
 *   GROUP BY llm(x), avg(llm(y))   calls in grouping keys and under aggregate functions -> a Project below
 *   llm(max(y)), llm(key)          calls over the aggregate's results                   -> a Project above
 * }}}
 * Late, because CollapseProject would fold the Project back into an Aggregate.
 */
object SplitAggregate {
  def apply(a: Aggregate): LogicalPlan = {
    val below = new Calls.Extractor
    val grouping = a.groupingExpressions.map(below.grouping)
    val results = a.aggregateExpressions.map { e =>
      e.transformDown {
        case f: AggregateExpression => argumentsOf(f, below)
        case g if below.known(g).isDefined => below.known(g).get
      }.asInstanceOf[NamedExpression]
    }
    val child = if (below.isEmpty) a.child else Project(a.child.output ++ below.aliases, a.child)
    above(a.copy(groupingExpressions = grouping, aggregateExpressions = results, child = child))
  }

  private def argumentsOf(f: AggregateExpression, below: Calls.Extractor): AggregateExpression = f.copy(
    aggregateFunction = f.aggregateFunction.mapChildren(below.whole).asInstanceOf[AggregateFunction],
    filter = f.filter.map(below.whole))

  private def above(a: Aggregate): LogicalPlan = if (!a.aggregateExpressions.exists(LLMCall.in)) a else {
    val inner = mutable.ArrayBuffer.empty[NamedExpression]
    def exported(e: Expression): Attribute = e match {
      case named: NamedExpression =>
        if (!inner.exists(_.exprId == named.exprId)) inner += named
        named.toAttribute
      case other =>
        inner.collectFirst { case al @ Alias(c, _) if c.semanticEquals(other) => al.toAttribute }.getOrElse {
          val alias = Alias(other, "agg")()
          inner += alias
          alias.toAttribute
        }
    }
    val outer = a.aggregateExpressions.map {
      case e if LLMCall.in(e) =>
        e.transformDown {
          case f: AggregateExpression => exported(f)
          case g if a.groupingExpressions.exists(_.semanticEquals(g)) => exported(g)
        }.asInstanceOf[NamedExpression]
      case e => exported(e)
    }
    Project(outer, a.copy(aggregateExpressions = inner.toSeq))
  }
}
