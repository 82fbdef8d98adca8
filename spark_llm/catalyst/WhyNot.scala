package org.apache.spark.sql.llm

/**
 * Why a rule did nothing to a call, for the rules that left no note on it because they found nothing to do. Asked at
 * the end of planning, when all notes are there.
 */
object WhyNot {
  private val NoPredicate = "it stands in no predicate"

  def apply(call: LLMCall): Seq[Decision] = {
    val noted = call.notes.map(_.rule).toSet
    val predicate = Seq(Decision.IsolateCalls, Decision.MoveFilters, Decision.OrderPredicates).exists(noted)
    val above = "no LIMIT, predicate or join above it to cross"
    val moves = Option.when(!LLMConf.moveFilters)(LLMConf.MoveFilters)
    val shares = Option.when(!LLMConf.shareCalls)(LLMConf.ShareCalls)
    Seq(
      (Decision.MoveFilters, moves,
        if (predicate) "no cheaper predicate above it and no join to cross" else NoPredicate),
      (Decision.OrderPredicates, moves, if (predicate) "the only LLM predicate over these rows" else NoPredicate),
      (Decision.HoistCalls, moves,
        if (predicate) "it stands in a predicate, which MoveFilters moves" else above),
      (Decision.ShareCalls, shares, "no other call asks the same, or about the same fields"),
      (CacheAnswers.Rule, Some(CacheConf.Enabled), ""),
      (Decision.Guards, None, "no CASE, AND, OR or COALESCE decides whether it is asked")
    ).collect {
      case (rule, Some(switch), _) if !noted(rule) => Decision.off(rule, switch)
      case (rule, None, reason) if !noted(rule) => Decision.refused(rule, reason)
    }
  }
}
