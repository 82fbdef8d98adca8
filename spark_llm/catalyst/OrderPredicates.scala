package org.apache.spark.sql.llm

import java.util.Locale

import scala.collection.mutable

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * Several LLM predicates over the same rows run in the order of cost / (1 - selectivity), which asks the least
 * (Hellerstein and Stonebraker, Predicate migration, SIGMOD 1993: rank ordering).
 * {{{
 *   LLMFilter(dear, LLMFilter(cheap, child))   stays
 *   LLMFilter(cheap, LLMFilter(dear, child))   ->  LLMFilter(dear, LLMFilter(cheap, child))
 * }}}
 * Cost is CallCost, 0 for a call that a predicate before it asks too; see Selectivity for the shares. Ties keep the
 * written order. Predicates that are not deterministic stay where they are.
 */
object OrderPredicates {
  private val Rule = Decision.OrderPredicates
  private val Close = 1e-6

  def apply(plan: LogicalPlan): LogicalPlan = plan match {
    case f: LLMFilter =>
      val (chain, base) = unstacked(f)
      val below = apply(base)
      if (!LLMConf.moveFilters && (chain.size > 1 || several(f))) noted(f, Decision.off(Rule, LLMConf.MoveFilters))
      else if (chain.size < 2) LLMFilter(f.condition, apply(f.child))
      else ordered(chain, below, f.output)
    case other => other.mapChildren(apply)
  }

  /** The predicates that may change places, first one first, and the plan below them. */
  private def unstacked(f: LLMFilter): (Seq[Expression], LogicalPlan) = next(f) match {
    case Some(below) if f.condition.deterministic && below.condition.deterministic =>
      val (chain, base) = unstacked(below)
      (chain :+ f.condition, base)
    case _ => (Seq(f.condition), f.child)
  }

  /** The predicate right below; columns may be dropped in between. */
  private def next(f: LLMFilter): Option[LLMFilter] = f.child match {
    case below: LLMFilter => Some(below)
    case Project(list, below: LLMFilter) if list.forall(_.isInstanceOf[Attribute]) => Some(below)
    case _ => None
  }

  private def several(f: LLMFilter): Boolean = f.condition match {
    case And(l, r) => Seq(l, r).forall(Calls.needsModel(_, f.child))
    case _ => false
  }

  private def noted(plan: LogicalPlan, note: Decision): LogicalPlan = plan match {
    case f: LLMFilter => Decision.behind(f.copy(child = noted(f.child, note)), note)
    case p @ Project(_, _: LLMFilter) => p.mapChildren(noted(_, note))
    case other => apply(other)
  }

  /** Predicates over each other, with only those columns in between that are still needed. */
  private def stacked(
      chain: Seq[Expression],
      base: LogicalPlan,
      output: Seq[Attribute],
      note: Decision): LogicalPlan = {
    val stack = chain.indices.foldLeft(base) { (plan, i) =>
      val needed = AttributeSet(output) ++ AttributeSet(chain.drop(i).flatMap(_.references))
      val narrow = if (plan.outputSet.subsetOf(needed)) plan else Project(plan.output.filter(needed.contains), plan)
      Decision.behind(LLMFilter(chain(i), narrow), note)
    }
    if (stack.output == output) stack else Project(output, stack)
  }

  private case class Ranked(predicate: Expression, cost: Double, share: Selectivity.Estimate) {
    def rank: Double = if (cost == 0) 0 else if (share.value >= 1) Double.PositiveInfinity else cost / (1 - share.value)
    override def toString: String = String.format(Locale.ROOT, "%.0f/(1-%.2f)", cost, share.value)
  }

  private def ordered(chain: Seq[Expression], base: LogicalPlan, output: Seq[Attribute]): LogicalPlan = {
    val waiting = chain.toBuffer
    val done = mutable.ArrayBuffer.empty[Ranked]
    val asked = mutable.HashSet.empty[AnyRef]
    while (waiting.nonEmpty) {
      val ranked = waiting.map(p => Ranked(p, cost(p, base, asked), Selectivity.of(p, base)))
      val least = ranked.map(_.rank).min
      val next = ranked.find(_.rank <= least * (1 + Close)).get
      waiting.remove(waiting.indexWhere(_ eq next.predicate))
      asked ++= Calls.of(next.predicate).map(Calls.key)
      done += next
    }
    val sources = done.map(_.share.source).map {
      case "assumed" => "assumed"
      case source => s"from $source"
    }
    val source = if (sources.distinct.size == 1) sources.head else sources.mkString(", ")
    val figures = done.mkString(" before ")
    stacked(
      done.map(_.predicate).toSeq,
      base,
      output,
      Decision.applied(Rule, s"ordered by cost/(1-selectivity): $figures, selectivity $source"))
  }

  private def cost(predicate: Expression, base: LogicalPlan, asked: collection.Set[AnyRef]): Double =
    Calls.of(predicate).map(c => Calls.key(c) -> c).toMap.collect {
      case (key, call) if !asked(key) => CallCost(call, base)
    }.sum
}
