package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans._
import org.apache.spark.sql.catalyst.plans.logical._

/**
 * Whether calls of one side of a join may be asked after the join. Equal questions are asked once, so that the join can
 * only spare questions, however often it repeats a row; what stands against it is said by a reason.
 */
object JoinCrossing {
  /** A larger other side repeats the rows of this one; then rows cost more than questions are spared. */
  private val MaxGrowth = 10

  /**
   * Why calls stay below the join, apart from the kind of the join; None: they may rise.
   *
   * @param left  are the calls on the left side?
   * @param calls the calls that would rise
   */
  def refusal(join: Join, left: Boolean, calls: Seq[LLMCall], predicate: Boolean): Option[String] = {
    lazy val (side, other) = if (left) (join.left, join.right) else (join.right, join.left)
    if (join.isStreaming) Some("the join is streaming, and its state would keep rows for longer")
    else if (!calls.forall(_.children.forall(_.deterministic))) {
      Some(s"${if (predicate) "predicate is" else "its arguments are"} not deterministic")
    } else if (repeatsNoRow(join, left)) None
    else if (calls.exists(_.options.sampled)) {
      Some("sampling without a seed: the join may repeat rows, and each would be a draw of its own")
    } else if (!LLMConf.dedup) {
      Some(s"equal questions are asked again (${LLMConf.Dedup} is off), and the join may repeat rows")
    } else if (equalities(join).isEmpty) Some("the join has no equality: it repeats rows and hardly drops any")
    else if (other.stats.sizeInBytes > side.stats.sizeInBytes * MaxGrowth) {
      Some(s"the other side is more than $MaxGrowth times larger and would repeat the rows of this one")
    } else None
  }

  /** Is every row of the side in at most one row of the join? */
  private def repeatsNoRow(join: Join, left: Boolean): Boolean = {
    val other = if (left) join.right else join.left
    join.joinType match {
      case LeftSemi | LeftAnti => left
      case _ =>
        val keys = ExpressionSet(equalities(join).map { case (l, r) => if (left) r else l })
        other.maxRows.exists(_ <= 1) || (keys.nonEmpty && other.distinctKeys.exists(_.subsetOf(keys)))
    }
  }

  private def equalities(join: Join): Seq[(Expression, Expression)] =
    join.condition.toSeq.flatMap(conjuncts).flatMap {
      case EqualTo(a, b) => sides(join, a, b)
      case EqualNullSafe(a, b) => sides(join, a, b)
      case _ => None
    }

  private def sides(join: Join, a: Expression, b: Expression): Option[(Expression, Expression)] = {
    def of(e: Expression, plan: LogicalPlan) = e.references.nonEmpty && e.references.subsetOf(plan.outputSet)
    if (of(a, join.left) && of(b, join.right)) Some((a, b))
    else if (of(b, join.left) && of(a, join.right)) Some((b, a))
    else None
  }

  private def conjuncts(e: Expression): Seq[Expression] = e match {
    case And(l, r) => conjuncts(l) ++ conjuncts(r)
    case other => Seq(other)
  }
}
