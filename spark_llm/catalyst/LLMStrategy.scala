package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions.AttributeReference
import org.apache.spark.sql.catalyst.plans.logical.{LogicalPlan, RebalancePartitions}
import org.apache.spark.sql.catalyst.plans.physical.HashPartitioning
import org.apache.spark.sql.execution.{SparkPlan, SparkStrategy}
import org.apache.spark.sql.execution.exchange.{REPARTITION_BY_NUM, ShuffleExchangeExec}
import org.apache.spark.sql.internal.SQLConf

/**
 * LLMEval -> LLMEvalExec, LookUpAnswers -> a broadcast join, LLMExchange -> a hash shuffle, LLMProbe -> LLMProbeExec,
 * SharedAnswers -> a shuffle. Asked
 * before Spark's own strategies, so a call that no rule could place ends here.
 */
object LLMStrategy extends SparkStrategy {
  override def apply(plan: LogicalPlan): Seq[SparkPlan] = plan match {
    case LLMEval(call, guard, result: AttributeReference, child, layout, stored, cache) =>
      val values = LLMConf.userSet(SQLConf.get)
      Models.check(call.options, values)
      if (call.options.models.isEmpty) AllowedHosts.check(values, call.options.model)
      else call.options.models.foreach(m => AllowedHosts.check(values, Some(m)))
      LLMEvalExec(call, guard, result, layout, stored, cache, planLater(child)) :: Nil
    case LookUpAnswers(values, left, right, answer) =>
      LookUpAnswersExec(values, planLater(left), planLater(right), answer) :: Nil
    case LLMExchange(keys, partitions, _, child, spread) =>
      ShuffleExchangeExec(HashPartitioning(keys ++ spread, partitions), planLater(child), REPARTITION_BY_NUM) :: Nil
    case SharedAnswers(child) => planLater(RebalancePartitions(Nil, child)) :: Nil
    case LLMProbe(columns, child) => LLMProbeExec(columns, planLater(child)) :: Nil
    case node if node.expressions.exists(LLMCall.in) =>
      throw LLMErrors.unsupported(
        s"llm() in ${node.nodeName}, where Spark cannot put a plan below it",
        "Compute the answers in a subquery or a table first, then join with it.")
    case _ => Nil
  }
}
