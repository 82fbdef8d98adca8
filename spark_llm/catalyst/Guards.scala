package org.apache.spark.sql.llm

import scala.collection.mutable

import org.apache.spark.sql.catalyst.expressions._

/**
 * Under which condition a call's answer can matter. SQL evaluates CASE, IF, AND, OR and COALESCE lazily; a call in
 * a node of its own would be asked for all rows, and rows nobody asked about could fail the query.
 * {{{
 *   CASE WHEN p THEN llm(x) ELSE llm(y) END   llm(x) onlyIf p is true, llm(y) onlyIf p is not true
 *   p OR llm(x)                               llm(x) onlyIf p is not true
 *   llm(x) = 'a' AND llm(y) = 'b'             llm(x) first; llm(y) in the next round, when the first is a column
 * }}}
 */
object Guards {
  /**
   * @param call  as it stands in the expression
   * @param guard None: always
   * @param notes for the call, with those of its other occurrences
   */
  case class Guarded(call: LLMCall, guard: Option[Expression], notes: Seq[Decision])

  /** The calls that can be planned now, in order of first use: those not waiting for another call's answer. */
  def ready(expressions: Seq[Expression]): Seq[Guarded] = {
    val found = mutable.LinkedHashMap.empty[AnyRef, Found]
    expressions.foreach(visit(_, Nil, found))
    val occurrences = expressions.flatMap(_.collect { case c: LLMCall => Calls.key(c) }).groupBy(identity)
    found.toSeq.map { case (key, f) =>
      // an occurrence not seen in this round has a condition we cannot know yet: then ask for all rows
      val complete = f.seen == occurrences(key).size
      val guard = if (complete) f.conditions.map(_.reduce(Or)) else None
      Guarded(f.call, guard, f.notes ++ note(f, complete))
    }
  }

  private class Found(val call: LLMCall, var conditions: Option[Seq[Expression]], var seen: Int) {
    var notes: Seq[Decision] = Nil
    var conditional = conditions.isDefined
  }

  private def note(f: Found, complete: Boolean): Option[Decision] =
    if (!f.conditional) None
    else if (!complete) Some(Decision.refused(Decision.Guards, "its condition in another place needs an answer first"))
    else if (f.conditions.isEmpty) Some(Decision.refused(Decision.Guards, "the same call stands without a condition"))
    else Some(Decision.applied(Decision.Guards, "spares rows whose answer cannot matter"))

  private def visit(e: Expression, path: Seq[Expression], found: mutable.Map[AnyRef, Found]): Unit = {
    def all(es: Seq[Expression], p: Seq[Expression] = path): Unit = es.foreach(visit(_, p, found))
    e match {
      case _ if !LLMCall.in(e) =>
      case c: LLMCall if c.children.exists(LLMCall.in) => all(c.children)
      case c: LLMCall => add(c, path, found)
      case If(p, _, _) if LLMCall.in(p) => all(Seq(p))
      case If(p, yes, no) if p.deterministic =>
        all(Seq(yes), path :+ isTrue(p))
        all(Seq(no), path :+ Not(isTrue(p)))
      case CaseWhen(branches, otherwise) => visitCase(branches, otherwise, path, found)
      case Or(l, r) => visitPair(l, r, x => Not(isTrue(x)), path, found)
      case And(l, r) => visitPair(l, r, x => Not(isFalse(x)), path, found)
      case Coalesce(first +: rest) if !LLMCall.in(first) && first.deterministic =>
        all(Seq(Coalesce(rest)), path :+ IsNull(first))
      case Coalesce(first +: _) if LLMCall.in(first) => all(Seq(first))
      case other => all(other.children)
    }
  }

  private def visitCase(
      branches: Seq[(Expression, Expression)],
      otherwise: Option[Expression],
      path: Seq[Expression],
      found: mutable.Map[AnyRef, Found]): Unit = branches match {
    case (p, _) +: _ if LLMCall.in(p) => visit(p, path, found)
    case (p, value) +: rest if p.deterministic =>
      visit(value, path :+ isTrue(p), found)
      visitCase(rest, otherwise, path :+ Not(isTrue(p)), found)
    case (_, value) +: rest =>
      visit(value, path, found)
      visitCase(rest, otherwise, path, found)
    case _ => otherwise.foreach(visit(_, path, found))
  }

  /** The side without a call decides for the other; with calls on both sides the left one goes first. */
  private def visitPair(
      left: Expression,
      right: Expression,
      matters: Expression => Expression,
      path: Seq[Expression],
      found: mutable.Map[AnyRef, Found]): Unit = {
    // the right side may fail where SQL never reaches it; then the answer on the left is needed
    val (cheap, llm) = if (LLMCall.in(left)) (TryEval(right), left) else (left, right)
    if (LLMCall.in(cheap)) visit(left, path, found)
    else visit(llm, if (cheap.deterministic) path :+ matters(cheap) else path, found)
  }

  private def add(call: LLMCall, path: Seq[Expression], found: mutable.Map[AnyRef, Found]): Unit = {
    val here = path.reduceOption(And).map(Seq(_))
    found.get(Calls.key(call)) match {
      case Some(f) =>
        f.conditions = for (a <- f.conditions; b <- here) yield a ++ b
        f.conditional ||= here.isDefined
        f.notes ++= call.notes
        f.seen += 1
      case None => found(Calls.key(call)) = new Found(call, here, 1)
    }
  }

  private def isTrue(e: Expression): Expression = EqualNullSafe(e, Literal.TrueLiteral)
  private def isFalse(e: Expression): Expression = EqualNullSafe(e, Literal.FalseLiteral)
}
