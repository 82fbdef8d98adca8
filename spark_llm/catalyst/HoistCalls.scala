package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * Computes columns of answers after whatever drops rows, so that no question is asked about a row that is dropped.
 * {{{
 *   Limit 5 (Project [a, llm(x)])                  ->  Project [a, llm(x)] (Limit 5 (Project [a, x]))
 *   Limit 5 (Sort a (Project [a, llm(x)]))         ->  Project [a, llm(x)] (Limit 5 (Sort a (Project [a, x])))
 *   Join (Project [a, llm(x)], right)              ->  Project [a, llm(x), ..] (Join (Project [a, x], right))
 *   LLMFilter q (Project [a, llm(x)])              ->  Project [a, llm(x)] (LLMFilter q (Project [a, x]))
 * }}}
 * A Project that only renames or drops columns above the answers goes along. Not where the sort, the join or the
 * predicate needs the answer. Rows and their order stay as they are. See JoinCrossing for where a join would harm.
 */
object HoistCalls {
  private val Rule = Decision.HoistCalls

  /** @param overJoins false: joins are not crossed, see ShareCalls.better */
  def apply(plan: LogicalPlan, overJoins: Boolean): LogicalPlan = if (!LLMConf.moveFilters) plan else {
    val next = plan.transformDown {
      case limit @ (_: GlobalLimit | _: LocalLimit | _: Offset) =>
        limit.children.head match {
          case Dear(p) => swap(p, "runs after the LIMIT")(low => limit.withNewChildren(Seq(low)))
          case s @ Sort(_, _, Dear(p), _) if limit.isInstanceOf[LocalLimit] && !reads(s.expressions, p) =>
            swap(p, "runs after ORDER BY and LIMIT")(low => limit.withNewChildren(Seq(s.withNewChildren(Seq(low)))))
          case _ => limit
        }
      case f @ LLMFilter(condition, Dear(p)) if condition.deterministic && !reads(Seq(condition), p) =>
        swap(p, "runs after the predicates")(low => f.copy(child = low))
      case join: Join if overJoins => overJoin(join, left = true).orElse(overJoin(join, left = false)).getOrElse(join)
    }
    if (next.fastEquals(plan)) plan else apply(next, overJoins)
  }

  /** Notes on the answers that are computed before rows are dropped, and why. */
  def reasons(plan: LogicalPlan, overJoins: Boolean): LogicalPlan = plan.transformUp {
    case p: Project if !LLMConf.moveFilters => Decision.on(p, Decision.off(Rule, LLMConf.MoveFilters))
    case limit @ LocalLimit(_, s @ Sort(_, _, Dear(p), _)) if LLMConf.moveFilters && reads(s.expressions, p) =>
      limit.copy(child = s.copy(child = noted(s.child, "the sort needs the answer")))
    case join: Join if LLMConf.moveFilters =>
      def side(plan: LogicalPlan, left: Boolean): LogicalPlan = plan match {
        case Dear(p) =>
          val shared = Option.when(!overJoins)(ShareCalls.BelowJoin)
          refusal(join, left, p).orElse(shared).fold(plan)(noted(plan, _))
        case f @ Filter(_, child) => f.copy(child = side(child, left))
        case _ => plan
      }
      join.copy(left = side(join.left, left = true), right = side(join.right, left = false))
  }

  private def noted(plan: LogicalPlan, why: String): LogicalPlan =
    Decision.onColumns(plan, plan.outputSet, Seq(Decision.refused(Rule, why)))

  /** A Project with columns that need an answer; one above it that only picks and renames is folded into it. */
  private object Dear {
    def unapply(plan: LogicalPlan): Option[Project] = plan match {
      case p: Project if dear(p).nonEmpty => Some(p)
      case Project(list, Dear(p)) if folds(list, p) =>
        val values = AttributeMap(p.projectList.map(e => e.toAttribute -> e))
        Some(Project(list.map {
          case a: Attribute => values(a)
          case e => e
        }, p.child))
      case _ => None
    }

    private def folds(list: Seq[NamedExpression], p: Project): Boolean = {
      val answers = AttributeSet(dear(p).map(_.toAttribute))
      val picked = list.collect { case a: Attribute => a }
      val others = list.filterNot(_.isInstanceOf[Attribute])
      picked.distinct.size == picked.size && others.forall(_.references.intersect(answers).isEmpty) &&
        (others.isEmpty || p.projectList.forall(e => e.isInstanceOf[Attribute] || LLMCall.in(e)))
    }
  }

  /** The columns that hold a call, or compute something from an answer below. */
  private def dear(p: Project): Seq[NamedExpression] = {
    lazy val below = Calls.answers(p.child)
    p.projectList.filter(e =>
      LLMCall.in(e) || (!e.isInstanceOf[Attribute] && e.references.intersect(below).nonEmpty))
  }

  private def reads(readers: Seq[Expression], p: Project): Boolean = {
    val answers = Calls.answers(p)
    readers.exists(_.references.intersect(answers).nonEmpty)
  }

  /** The columns of `p` above what `around` builds, with what they need coming through from below. */
  private def swap(p: Project, done: String)(around: Project => LogicalPlan): LogicalPlan = {
    val (top, low) = split(p, done)
    Project(top, around(low))
  }

  private def split(p: Project, done: String): (Seq[NamedExpression], Project) = {
    val late = dear(p)
    val early = p.projectList.filterNot(e => late.exists(_ eq e))
    val needed = AttributeSet(late.flatMap(_.references)) -- AttributeSet(early.map(_.toAttribute))
    val top = p.projectList.map { e =>
      if (late.exists(_ eq e)) Decision.in(e, Decision.applied(Rule, done)) else e.toAttribute
    }
    (top, Project(early ++ needed.toSeq, p.child))
  }

  private def overJoin(join: Join, left: Boolean): Option[LogicalPlan] = {
    val (side, other) = if (left) (join.left, join.right) else (join.right, join.left)
    Some(side).collect { case Dear(p) if refusal(join, left, p).isEmpty => split(p, "runs after the join") }.collect {
      case (top, low) if low.outputSet.intersect(other.outputSet).isEmpty =>
        val joined = if (left) join.copy(left = low) else join.copy(right = low)
        val rest = joined.output.filter(other.outputSet.contains)
        Project(if (left) top ++ rest else rest ++ top, joined)
    }
  }

  private def refusal(join: Join, left: Boolean, p: Project): Option[String] = {
    val mayRise = join.joinType match {
      case Inner | Cross => true
      case LeftOuter | LeftSemi | LeftAnti => left
      case RightOuter => !left
      case _ => false
    }
    if (!mayRise) Some(s"a ${join.joinType.sql} join would ask about rows that are not of this side")
    else if (reads(join.condition.toSeq, p)) Some("the join needs the answer")
    else JoinCrossing.refusal(join, left, dear(p).flatMap(Calls.behind(_, p.child)), predicate = false)
  }
}
