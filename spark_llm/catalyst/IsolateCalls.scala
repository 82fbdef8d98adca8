package org.apache.spark.sql.llm

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.rules.Rule

/**
 * Before Spark's operator optimization: takes calls out of the places where Spark would move, copy or infer them.
 * {{{
 *   Filter(cheap AND llm1 AND llm2)     ->  LLMFilter(llm2, LLMFilter(llm1, Filter(cheap)))
 *   inner Join ON cheap AND llm(l, r)   ->  LLMFilter(llm(l, r), Join ON cheap)
 *   left Join ON ... llm(l) ...         ->  Join with llm(l) computed in a Project under its side
 * }}}
 * A conjunct that reads an answer's alias counts as an LLM predicate: Spark would push it through the Project by
 * putting the call in the alias's place, and the model would be asked twice.
 *
 * @param opaque see LLMCall; only possible where analysis is over
 */
case class IsolateCalls(session: SparkSession, opaque: Boolean) extends Rule[LogicalPlan] with PredicateHelper {

  override def apply(plan: LogicalPlan): LogicalPlan =
    if (!Calls.in(plan)) plan else if (opaque) Calls.opaque(yes = true, isolate(plan)) else isolate(plan)

  private def isolate(plan: LogicalPlan): LogicalPlan = plan.transformUp {
    case f @ Filter(condition, child) if split(condition).exists(Calls.needsModel(_, child)) && !correlated(f) =>
      val (llm, cheap) = split(condition).partition(Calls.needsModel(_, child))
      // Spark rewrites correlated subqueries in nodes it knows only
      val (correlatedToo, free) = llm.partition(SubqueryExpression.hasCorrelatedSubquery)
      val why = if (cheap.isEmpty) "an LLM predicate of its own" else s"runs after ${text(cheap)}"
      val base = stack(free, cheap.reduceOption(And).fold(child)(Filter(_, child)), why)
      correlatedToo.reduceOption(And).fold(base)(Filter(_, base))
    case j @ Join(_, _, Inner | Cross, Some(condition), _) if LLMCall.in(condition) =>
      val (llm, cheap) = split(condition).partition(LLMCall.in)
      stack(
        llm,
        j.copy(joinType = Inner, condition = cheap.reduceOption(And)),
        if (cheap.isEmpty) "taken out of the join's condition" else s"runs after the join on ${text(cheap)}")
    case j @ Join(_, _, _, Some(condition), _) if LLMCall.in(condition) => underItsSide(j, condition)
  }

  // Spark pulls correlated predicates out of a subquery only through nodes it knows. Before Spark 4.3 this rule runs
  // earlier than that; the plain Filter then stays, and PlanCalls plans its calls.
  private def correlated(plan: LogicalPlan): Boolean =
    plan.exists(_.expressions.exists(_.exists(_.isInstanceOf[OuterReference])))

  private def split(condition: Expression): Seq[Expression] =
    if (LLMConf.moveFilters) splitConjunctivePredicates(condition) else Seq(condition)

  private def stack(predicates: Seq[Expression], base: LogicalPlan, why: String): LogicalPlan = {
    val note = Decision.applied(Decision.IsolateCalls, why)
    predicates.foldLeft(base)((plan, predicate) => LLMFilter(Decision.in(predicate, note), plan))
  }

  private def text(predicates: Seq[Expression]): String = predicates.reduce(And).sql

  private def underItsSide(join: Join, condition: Expression): LogicalPlan = {
    val calls = new Calls.Extractor
    val newCondition = calls.calls(condition)
    val (left, rest) = calls.aliases.partition(_.references.subsetOf(join.left.outputSet))
    val (right, both) = rest.partition(_.references.subsetOf(join.right.outputSet))
    if (both.nonEmpty) {
      throw LLMErrors.unsupported(
        s"llm() over columns of both sides in the condition of a ${join.joinType.sql} join",
        "Use an inner join, or compute the pairs in a subquery first.")
    }
    val note = Decision.applied(Decision.IsolateCalls, s"asked under its side of the ${join.joinType.sql} join")
    def under(side: LogicalPlan, answers: Seq[Alias]): LogicalPlan =
      if (answers.isEmpty) side else Project(side.output ++ answers.map(Decision.in(_, note)), side)
    Project(join.output, join.copy(
      left = under(join.left, left),
      right = under(join.right, right),
      condition = Some(newCondition)))
  }
}
