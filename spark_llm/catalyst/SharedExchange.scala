package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions.Expression
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * An exchange further down that also brings this call's equal rows together: its keys are among the call's fields.
 *
 * @param evals the calls between, nearest first; the exchange was made for the last
 */
case class SharedExchange(exchange: LLMExchange, evals: Seq[LLMEval]) {
  /** The exchange, measuring these columns too; None where they do not exist yet. */
  def measuring(columns: Seq[Expression]): Option[LLMExchange] =
    if (!columns.forall(_.references.subsetOf(exchange.child.outputSet))) None
    else Some(SharedExchange.measuring(exchange, columns))

  /** The order of a call in between, if the sort for it serves this call as well. */
  def order(call: LLMCall): Option[FieldOrder] = SharedExchange.adopt(call, evals)
}

object SharedExchange {
  def find(e: LLMEval): Option[SharedExchange] = {
    val keys = LayoutKeys(e.call, e.call.fields.indices, Nil).map(_.expression)
    below(e.child).filter { s =>
      s.evals.nonEmpty && s.exchange.keys.forall(k => keys.exists(_.semanticEquals(k))) && spreadAlike(e, s)
    }
  }

  /** Rows that the other call skips lie anywhere: they may only be rows that this call skips as well. */
  private def spreadAlike(e: LLMEval, s: SharedExchange): Boolean =
    s.exchange.spread.isEmpty ||
      e.guard.exists(g => s.evals.last.guard.exists(_.semanticEquals(g)))

  private def measuring(exchange: LLMExchange, columns: Seq[Expression]): LLMExchange = exchange.child match {
    case first: LLMExchange if exchange.pending => exchange.copy(child = measuring(first, columns))
    case LLMProbe(known, child) =>
      val more = columns.filterNot(c => known.exists(_.semanticEquals(c)))
      exchange.copy(child = LLMProbe(known ++ more, child))
    case child => exchange.copy(child = LLMProbe(columns, child))
  }

  private def below(plan: LogicalPlan): Option[SharedExchange] = plan match {
    case x: LLMExchange => Some(SharedExchange(x, Nil))
    case e: LLMEval => below(e.child).map(s => s.copy(evals = e +: s.evals))
    case _: Project | _: Filter | _: LookUpAnswers => below(plan.children.head)
    case _ => None
  }

  /** The order of the nearest of `evals` whose sort begins with the fields of `call`; two calls then share one sort. */
  def adopt(call: LLMCall, evals: Seq[LLMEval]): Option[FieldOrder] =
    if (LLMConf.fieldsStay.isDefined) None
    else evals.view.filter(e => e.layout.sorted && e.layout.byPrefix).flatMap(adopt(call, _)).headOption

  private def adopt(call: LLMCall, from: LLMEval): Option[FieldOrder] = {
    val order = from.layout.order
    def same(a: Option[Expression], b: Option[Expression]) = (a, b) match {
      case (Some(x), Some(y)) => x.semanticEquals(y)
      case (x, y) => x.isEmpty && y.isEmpty
    }
    val sort = order.positions.map(from.call.fields(_)).filter(FieldKeys.usable).map(_.canonicalized).distinct
    val (usable, rest) = call.fields.indices.partition(i => FieldKeys.usable(call.fields(i)))
    val place = usable.map(i => i -> sort.indexOf(call.fields(i).canonicalized)).toMap
    val mine = place.values.toSet
    if (!same(FieldKeys.instruction(call), FieldKeys.instruction(from.call)) || mine.contains(-1) ||
        mine != mine.toSeq.indices.toSet) None
    else {
      val (constant, unordered) = rest.partition(i => call.fields(i).foldable)
      val free = (constant ++ usable.sortBy(place) ++ unordered)
        .filterNot(i => call.first.contains(i) || call.last.contains(i))
      val positions = call.first ++ free ++ call.last
      // pinned fields may stand in the way
      val shares = positions.filter(usable.contains).map(place).distinct == mine.toSeq.sorted
      Option.when(shares)(order.copy(positions = positions))
    }
  }
}
