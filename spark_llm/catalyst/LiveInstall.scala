package org.apache.spark.sql.llm

import org.apache.spark.sql.{SparkSession => ApiSession}
import org.apache.spark.sql.classic.SparkSession

/**
 * For sessions that were started without the jar (`spark_llm.register(spark)`): the function, the rules and the
 * strategy go into the live session. Spark runs rules added this way after its own, so a filter may already have been
 * pushed through an alias of a call: answers stay right, some questions are asked twice. Adaptive execution takes no
 * rules from a live session, so without statistics in the catalog fields stay in the written order.
 */
object LiveInstall {
  def install(session: ApiSession): Unit = {
    val classic = session.asInstanceOf[SparkSession]
    val functions = classic.sessionState.functionRegistry
    functions.createOrReplaceTempFunction(LLMFunction.name, LLMCallBuilder.build(_), "scala_udf")
    functions.createOrReplaceTempFunction(TryLLMFunction.name, TryLLMFunction.build, "scala_udf")
    functions.createOrReplaceTempFunction(AnyOrder.name, AnyOrder(_), "scala_udf")
    val experimental = classic.experimental
    if (!experimental.extraStrategies.contains(LLMStrategy)) {
      experimental.extraStrategies = experimental.extraStrategies :+ LLMStrategy
      val rules = Seq(CheckCalls, IsolateCalls(classic, opaque = false), MoveFilters(classic), PlanCalls(classic))
      experimental.extraOptimizations = experimental.extraOptimizations ++ rules
    }
  }
}
