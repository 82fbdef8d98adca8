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
 *   LIMIT over a call                 ->  the call over the LIMIT                      (HoistCalls)
 *   the same call twice               ->  one LLMEval                                  (ReuseAnswers)
 *   every LLMEval                     ->  with its field order, over its exchange      (LayOutCalls)
 * }}}
 */
case class PlanCalls(session: SparkSession) extends Rule[LogicalPlan] {

  override def apply(plan: LogicalPlan): LogicalPlan = if (!Calls.in(plan)) plan else {
    val spread = Calls.opaque(yes = false, plan).transformUp {
      case a: Aggregate if a.expressions.exists(LLMCall.in) => SplitAggregate(a)
      case n @ (_: Project | _: Filter | _: LLMFilter | _: LLMEval) => n
      case u: UnaryNode if u.expressions.exists(LLMCall.in) => computeBelow(u)
    }
    val lowered = HoistCalls(spread).transformUp {
      case LLMFilter(condition, child) => lower(Filter(condition, child))
      case n @ (_: Project | _: Filter) => lower(n)
      case n if !n.isInstanceOf[LLMEval] && n.expressions.exists(LLMCall.in) => throw unsupported(n)
    }
    val planned = ProtectSorts(LayOutCalls(session)(ShareArguments(lowered)))
    if (planned.output == plan.output) planned else Project(plan.output, planned)
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
    Guards.ready(n.expressions).foreach { case Guards.Guarded(call, guard) =>
      val (plan, result) = answer(call, guard, child)
      child = plan
      answered(Calls.key(call)) = result
    }
    val replaced = n.withNewChildren(Seq(child)).transformExpressions {
      case c: LLMCall if answered.contains(Calls.key(c)) => answered(Calls.key(c))
    }
    val done = lower(replaced)
    if (done.output == n.output) done else Project(n.output, done)
  }

  private def answer(call: LLMCall, guard: Option[Expression], child: LogicalPlan): (LogicalPlan, Attribute) =
    ReuseAnswers(child, call).getOrElse {
      val result = AttributeReference(LLMFunction.name, call.dataType)()
      // arguments that are not plain columns are computed once, where Python UDFs and subqueries are planned
      val computed = mutable.LinkedHashMap.empty[Expression, Alias]
      val arguments = call.children.map {
        case e if e.foldable || e.isInstanceOf[Attribute] => e
        case e =>
          val key = if (e.deterministic) e.canonicalized else e
          // an argument such as 10 / x may fail on rows that the guard keeps out
          val guarded = guard.fold(e)(If(_, e, Literal(null, e.dataType)))
          computed.getOrElseUpdate(key, Alias(guarded, ReuseAnswers.ArgumentName)()).toAttribute
      }
      val base = if (computed.isEmpty) child else Project(child.output ++ computed.values, child)
      (LLMEval(call.withNewChildren(arguments).asInstanceOf[LLMCall], guard, result, base), result)
    }
}
