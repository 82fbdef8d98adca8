package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule

/**
 * After operator optimization: gives every call its own LLMEval node.
 * {{{
 *   Project [a, f(llm(x))]            ->  Project [a, f(#1)]  over  LLMEval [llm(x) AS #1]
 *   Aggregate [avg(llm(x))]           ->  Aggregate [avg(#1)] over  LLMEval            (SplitAggregate)
 *   Aggregate [llm(max(y))]           ->  LLMEval             over  Aggregate [max(y)]
 *   Sort / Window / Generate [llm(x)] ->  the node            over  LLMEval
 *   CASE WHEN p THEN llm(x) END       ->  LLMEval onlyIf=p                             (Guards)
 *   LIMIT or join over a call         ->  the call over the LIMIT or join              (HoistCalls, RaiseFilters)
 *   several LLM predicates            ->  the one that spares most first               (OrderPredicates)
 *   the same call twice               ->  one LLMEval                                  (ReuseAnswers, ShareCalls)
 *   questions answered before         ->  their stored answers                         (CacheAnswers)
 *   every LLMEval                     ->  with its field order, over its exchange      (LayOutCalls)
 * }}}
 */
case class PlanCalls(session: SparkSession) extends Rule[LogicalPlan] {

  override def apply(plan: LogicalPlan): LogicalPlan = if (!Calls.waiting(plan)) plan else {
    Budget.of(session.conf.getAll)
    PredicateHistory.follow(session)
    LastExplain.follow(session)
    Progress.follow(session)
    RunReport.follow(session)
    CacheUpkeep.follow(session)
    ExplainCalls.provide(session)
    val spread = Calls.opaque(yes = false, plan).transformUp {
      case a: Aggregate if a.expressions.exists(LLMCall.in) => SplitAggregate(a)
      case n @ (_: Project | _: Filter | _: LLMFilter | _: LLMEval) => n
      case u: UnaryNode if u.expressions.exists(LLMCall.in) => computeBelow(u)
    }
    val shared = ShareCalls.better(
      lowered(settled(spread, overJoins = true)),
      lowered(settled(spread, overJoins = false)))
    val planned = ProtectSorts(LayOutCalls(session)(CacheAnswers(session)(ShareArguments(shared))))
    if (planned.output == plan.output) planned else Project(plan.output, planned)
  }

  /** Columns of answers rise over predicates, and both over joins, until nothing moves. */
  private def settled(plan: LogicalPlan, overJoins: Boolean): LogicalPlan = {
    val next = if (overJoins) RaiseFilters(HoistCalls(plan, overJoins)) else HoistCalls(plan, overJoins)
    if (!next.fastEquals(plan)) settled(next, overJoins)
    else OrderPredicates(HoistCalls.reasons(RaiseFilters.reasons(next, overJoins), overJoins))
  }

  private def lowered(plan: LogicalPlan): LogicalPlan = plan.transformUp {
    case LLMFilter(condition, child) => lower(Filter(condition, child))
    case n @ (_: Project | _: Filter) => lower(n)
    case n if !n.isInstanceOf[LLMEval] && n.expressions.exists(LLMCall.in) => throw unsupported(n)
  }

  private def unsupported(n: LogicalPlan): LLMAnalysisException =
    LLMErrors.unsupported(s"llm() in ${n.nodeName}", "Compute the answers in a subquery first.")

  private def computeBelow(u: UnaryNode): LogicalPlan = {
    val calls = new Calls.Extractor
    val node = u.mapExpressions {
      case order: SortOrder => order.copy(child = calls.whole(order.child))
      case e => calls.calls(e)
    }
    Project(u.output, node.withNewChildren(Seq(Project(u.child.output ++ calls.aliases, u.child))))
  }

  /** One round: the calls whose arguments and conditions need no other call first; then again until none is left. */
  private def lower(n: LogicalPlan): LogicalPlan = if (!n.expressions.exists(LLMCall.in)) n else {
    var child = n.children.head
    val answered = mutable.HashMap.empty[AnyRef, Attribute]
    // calls that are answered further down need no node of their own
    val asked = Guards.ready(n.expressions).filter { case Guards.Guarded(call, _, _) =>
      val below = ReuseAnswers(child, call)
      below.foreach { case (plan, result) =>
        child = plan
        answered(Calls.key(call)) = result
      }
      below.isEmpty
    }
    val (base, calls) = CallArguments(asked, child)
    child = calls.foldLeft(base) { case (plan, CallArguments.Prepared(written, call, guard)) =>
      val result = AttributeReference(LLMFunction.name, call.dataType)()
      answered(Calls.key(written)) = result
      LLMEval(call, guard, result, plan)
    }
    val replaced = n.withNewChildren(Seq(child)).transformExpressions {
      case c: LLMCall if answered.contains(Calls.key(c)) => answered(Calls.key(c))
    }
    val done = lower(replaced)
    if (done.output == n.output) done else Project(n.output, done)
  }
}
