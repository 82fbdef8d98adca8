package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * The second half of MoveFilters, once Spark's own filters are where they belong: LLM predicates run after joins.
 * {{{
 *   inner Join(LLMFilter(llm(l), left), right)      ->  LLMFilter(llm(l), Join(left, right))
 *   inner Join(left, LLMFilter(llm(r), right))      ->  LLMFilter(llm(r), Join(left, right))
 *   semi or anti Join(LLMFilter(llm(l), left), ..)  ->  LLMFilter(llm(l), Join(left, ..))
 * }}}
 * See JoinCrossing for where that would harm.
 */
object RaiseFilters {
  private val Rule = Decision.MoveFilters

  def apply(plan: LogicalPlan): LogicalPlan = if (!LLMConf.moveFilters) plan else plan.transformUp {
    case join: Join => raise(join, left = true).orElse(raise(join, left = false)).getOrElse(join)
  }

  /**
   * Notes on the predicates that stayed where they were, and why.
   *
   * @param overJoins false: joins were not crossed, see ShareCalls.better
   */
  def reasons(plan: LogicalPlan, overJoins: Boolean): LogicalPlan = plan.transformUp {
    case f: LLMFilter if !LLMConf.moveFilters => Decision.behind(f, Decision.off(Rule, LLMConf.MoveFilters))
    case join: Join if LLMConf.moveFilters =>
      join.copy(left = stayed(join, left = true, overJoins), right = stayed(join, left = false, overJoins))
    case above @ Filter(condition, f: LLMFilter) if LLMConf.moveFilters =>
      above.copy(child = stayedBelow(condition, f))
    case above @ Filter(condition, p @ Project(_, f: LLMFilter)) if LLMConf.moveFilters =>
      above.copy(child = p.copy(child = stayedBelow(condition, f)))
    case f: LLMFilter if LLMConf.moveFilters && !LLMCall.in(f.condition) =>
      Decision.behind(f, Decision.refused(Rule, "predicate reads the answer"))
  }

  private def stayedBelow(condition: Expression, f: LLMFilter): LLMFilter = {
    val why =
      if (!condition.deterministic) "predicate is not deterministic"
      else if (Calls.needsModel(condition, f.child)) "predicate reads the answer"
      else "predicate has a correlated subquery"
    Decision.behind(f, Decision.refused(Rule, why))
  }

  private def stayed(join: Join, left: Boolean, overJoins: Boolean): LogicalPlan = {
    val side = if (left) join.left else join.right
    val shared = Option.when(!overJoins)(ShareCalls.BelowJoin)
    candidate(side).flatMap(f => refusal(join, left, f).orElse(shared)).map(Decision.refused(Rule, _)) match {
      case Some(why) => side match {
        case f: LLMFilter => Decision.behind(f, why)
        case Project(list, f: LLMFilter) => Project(list, Decision.behind(f, why))
        case other => other
      }
      case None => side
    }
  }

  private def candidate(side: LogicalPlan): Option[LLMFilter] = side match {
    case f: LLMFilter => Some(f)
    case Project(list, f: LLMFilter) if list.forall(e => !LLMCall.in(e) && e.deterministic) => Some(f)
    case _ => None
  }

  private def raise(join: Join, left: Boolean): Option[LogicalPlan] = {
    val (side, other) = if (left) (join.left, join.right) else (join.right, join.left)
    candidate(side).filter(refusal(join, left, _).isEmpty).flatMap { f =>
      val hidden = (f.condition.references -- side.outputSet).toSeq
      if (hidden.exists(other.outputSet.contains)) None
      else {
        val lowered = side match {
          case Project(list, _) => Project(list ++ hidden, f.child)
          case _ => f.child
        }
        val joined = if (left) join.copy(left = lowered) else join.copy(right = lowered)
        val raised = Decision.behind(f.copy(child = joined), Decision.applied(Rule, "runs after the join"))
        Some(if (hidden.isEmpty) raised else Project(join.output, raised))
      }
    }
  }

  private def refusal(join: Join, left: Boolean, f: LLMFilter): Option[String] = {
    val kind = join.joinType.sql
    join.joinType match {
      case Inner | Cross =>
      case LeftSemi | LeftAnti if left =>
      case LeftOuter if left => return Some(s"a $kind join drops no row of this side")
      case RightOuter if !left => return Some(s"a $kind join drops no row of this side")
      case _ => return Some(s"a $kind join would let through rows that the predicate drops")
    }
    if (!f.condition.deterministic) return Some("predicate is not deterministic")
    val read = f.condition.references.intersect(Calls.answers(f.child))
    if (!LLMCall.in(f.condition) && join.condition.exists(_.references.intersect(read).nonEmpty)) {
      Some("the join needs the answer")
    } else JoinCrossing.refusal(join, left, Calls.behind(f.condition, f.child), predicate = true)
  }
}
