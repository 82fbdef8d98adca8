package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.execution.columnar.InMemoryRelation
import org.apache.spark.sql.internal.SQLConf

/**
 * The same answers in several branches are evaluated once: in the branches of a UNION, or in a view or CTE used twice,
 * which Spark has copied into each place. Equal copies end in one shuffle, and Spark runs equal shuffles once.
 * {{{
 *   Join( Project [a, #1] LLMEval [llm(x) AS #1] t,        ->  Join( Project [a, #1] SharedAnswers M,
 *         Project [b, #2] LLMEval [llm(x) AS #2] t )                 Project [b, #1'] SharedAnswers M' )
 *   M = LLMEval [llm(x) AS #1] t, M' the same with other ids; both with all columns that either needs
 * }}}
 * Copies that keep different rows are asked about the rows that either keeps (MergePlans). ReuseAnswers is the other
 * half: the same call further down the same branch.
 */
object ShareCalls {
  private val Rule = Decision.ShareCalls

  val BelowJoin = "its copies share their answers below the join"

  /**
   * Copies that rose over different joins are asked about different rows and share nothing. Where leaving them below
   * makes one of two, that is better than what a join may spare.
   */
  def better(overJoins: => LogicalPlan, belowJoins: => LogicalPlan): LogicalPlan = {
    val above = apply(overJoins)
    if (!LLMConf.moveFilters || !LLMConf.shareCalls || alike(above).isEmpty) above
    else {
      val below = apply(belowJoins)
      if (evaluations(below) < evaluations(above)) below else above
    }
  }

  /** LLMEval nodes that run; shared ones run once. */
  private def evaluations(plan: LogicalPlan): Int = {
    def outside(p: LogicalPlan): Int = p match {
      case _: SharedAnswers => 0
      case _ => p.children.map(outside).sum + (if (p.isInstanceOf[LLMEval]) 1 else 0)
    }
    val shared = plan.collect { case s: SharedAnswers => s.canonicalized }.distinct
    outside(plan) + shared.map(s => outside(s.children.head)).sum
  }

  private case class Copy(node: LogicalPlan, limited: Boolean)
  private case class Member(node: LogicalPlan, columns: AttributeMap[Attribute], left: Seq[Expression])

  def apply(plan: LogicalPlan): LogicalPlan = {
    val calls = alike(plan)
    if (calls.isEmpty) plan
    else if (!LLMConf.shareCalls) noted(plan, calls, _ => s"switched off by ${LLMConf.ShareCalls}")
    else if (plan.isStreaming) noted(plan, calls, _ => "the query is streaming")
    else {
      val copies = shareable(plan, limited = false)
      val limited = copies.collect { case Copy(e: LLMEval, true) => e }
      val shared = replaced(plan, groups(copies.filterNot(_.limited).map(_.node)))
      noted(shared, calls.filter(e => shared.exists(_ eq e)), why(_, limited))
    }
  }

  /** The calls of which another reads alike. */
  private def alike(plan: LogicalPlan): Seq[LLMEval] =
    plan.collect { case e: LLMEval => e }.groupBy(e => question(e.call)).values.filter(_.size > 1).flatten.toSeq

  private def why(e: LLMEval, limited: Seq[LLMEval]): String =
    if (e.call.options.sampled) "sampling without a seed: each row is a draw of its own"
    else if (Calls.draws(e.call)) "its arguments are not deterministic"
    else if (!runsOnce(e)) "adaptive execution does not reuse shuffles over a cached table"
    else if (limited.exists(_ eq e)) "a LIMIT above needs few of the rows"
    else "the other call is asked about other values or under another condition"

  /** Calls that read alike; whether they are over the same rows is another question. */
  private def question(call: LLMCall): AnyRef =
    (call.instruction.canonicalized.sql, call.fieldNames, call.options.copy(selectivity = None))

  private def noted(plan: LogicalPlan, calls: Seq[LLMEval], why: LLMEval => String): LogicalPlan =
    if (calls.isEmpty) plan
    else plan match {
      case e: LLMEval if calls.exists(_ eq e) =>
        e.copy(call = e.call.noted(Decision.refused(Rule, why(e))), child = noted(e.child, calls, why))
      case other => other.mapChildren(noted(_, calls, why))
    }

  /** Nodes that may be shared, outermost first: answers, and predicates right above them. */
  private def shareable(plan: LogicalPlan, limited: Boolean): Seq[Copy] = {
    val here = plan match {
      case _: LLMEval => Seq(Copy(plan, limited))
      case Filter(_, child) if overAnswers(child) => Seq(Copy(plan, limited))
      case _ => Nil
    }
    val below = plan match {
      case _: GlobalLimit | _: LocalLimit => true
      case _: Project | _: Filter | _: LLMEval | _: Join | _: Union => limited
      case _ => false
    }
    here ++ plan.children.flatMap(shareable(_, below))
  }

  private def overAnswers(plan: LogicalPlan): Boolean = plan match {
    case Project(_, child) => overAnswers(child)
    case _: LLMEval => true
    case _ => false
  }

  private def groups(nodes: Seq[LogicalPlan]): Seq[(LogicalPlan, Seq[Member])] = {
    val taken = mutable.ArrayBuffer.empty[LogicalPlan]
    def free(n: LogicalPlan) = !taken.exists(t => t.exists(_ eq n) || n.exists(_ eq t))
    nodes.flatMap { first =>
      if (!free(first) || !repeatable(first)) None
      else {
        var merged = first
        val members = mutable.ArrayBuffer(Member(first, AttributeMap(first.output.map(a => a -> a)), Nil))
        taken += first
        nodes.dropWhile(_ ne first).tail.filter(n => free(n) && repeatable(n)).foreach { other =>
          if (free(other)) MergePlans(merged, other).foreach { m =>
            merged = m.plan
            members.mapInPlace(c => c.copy(left = c.left ++ m.first))
            members += Member(other, m.columns, m.second)
            taken += other
          }
        }
        if (members.size == 1) taken -= first
        Option.when(members.size > 1)((merged, members.toSeq))
      }
    }
  }

  /** Two runs of the plan give the same rows. */
  private def repeatable(plan: LogicalPlan): Boolean = runsOnce(plan) && !plan.exists { node =>
    node.isInstanceOf[Sample] || node.expressions.exists(e => !e.deterministic || Calls.of(e).exists(Calls.draws))
  }

  // the stage of a cached table keeps its number in its canonical form (TableCacheQueryStageExec), so that two are two
  private def runsOnce(plan: LogicalPlan): Boolean =
    !SQLConf.get.adaptiveExecutionEnabled || !plan.exists(_.isInstanceOf[InMemoryRelation])

  private def replaced(plan: LogicalPlan, groups: Seq[(LogicalPlan, Seq[Member])]): LogicalPlan = {
    val done = groups.flatMap { case (merged, members) =>
      val note = Decision.applied(Rule, s"evaluated once for ${members.size} places of the query")
      val shared = merged match {
        case f: Filter => f.copy(child = onAnswers(f.child, note))
        case other => onAnswers(other, note)
      }
      members.zipWithIndex.map { case (member, i) =>
        val copy = if (i == 0) None else Some(new FreshCopy(shared))
        member.node -> place(member, copy.fold(shared)(_.plan), copy)
      }
    }
    def place0(p: LogicalPlan): LogicalPlan =
      done.collectFirst { case (node, now) if node eq p => now }.getOrElse(p.mapChildren(place0))
    if (done.isEmpty) plan else place0(plan)
  }

  private def onAnswers(plan: LogicalPlan, note: Decision): LogicalPlan = plan match {
    case e: LLMEval => e.copy(call = e.call.noted(note), child = onAnswers(e.child, note))
    case p: Project => p.copy(child = onAnswers(p.child, note))
    case other => other
  }

  /** What stands in a member's place: its columns under their own ids, and the predicates that are left to do. */
  private def place(member: Member, plan: LogicalPlan, copy: Option[FreshCopy]): LogicalPlan = {
    def now(e: Expression): Expression = copy.fold(e)(_.in(e))
    val end = SharedAnswers(plan)
    val rows = member.left.map(now).reduceOption(And).fold[LogicalPlan](end)(Filter(_, end))
    Project(member.node.output.map { a =>
      now(member.columns(a)) match {
        case same: Attribute if same.exprId == a.exprId => same
        case other => Alias(other, a.name)(exprId = a.exprId, qualifier = a.qualifier)
      }
    }, rows)
  }
}
