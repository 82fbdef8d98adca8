package org.apache.spark.sql.llm

import java.util.{Collections, WeakHashMap}

import org.apache.spark.sql.{SparkSession, SparkSessionExtensions, SparkSessionExtensionsProvider}
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan
import org.apache.spark.sql.catalyst.rules.Rule

/**
 * Entry point of the plug-in. The way of a call through Spark:
 * {{{
 *   SQL / DataFrame   llm('question', review, title)
 *     | analysis        LLMCallBuilder   arguments -> LLMCall (an expression nobody can evaluate)
 *     |                 CheckCalls       places where no plan exists for a call -> error now
 *     | optimizer       IsolateCalls     before Spark moves filters: LLM predicates -> LLMFilter
 *     |                 MoveFilters      cheap predicates sink below LLMFilter
 *     |                 PlanCalls        each call -> its own LLMEval node, conditions -> guards, after joins and
 *     |                                  limits, predicates ranked, repeated calls shared
 *     |                                  (HoistCalls, RaiseFilters, OrderPredicates, Guards, ShareCalls)
 *     |                 LayOutCalls      field order, and the exchange that brings equal rows together
 *     | planner         LLMStrategy      LLMEval -> LLMEvalExec
 *     | adaptive exec.  MeasureFieldOrder   the exchange has run: order by what LLMProbe saw
 *     v execution       LLMEvalExec      rows -> Arrow batches -> Python worker -> typed column
 *                       EngineHost       one engine process per executor, kept by LLMPlugin
 * }}}
 * Found by Spark through META-INF/services, so a jar on the class path is enough;
 * `spark.sql.extensions` may name it as well.
 */
class LLMExtensions extends SparkSessionExtensionsProvider {
  override def apply(extensions: SparkSessionExtensions): Unit =
    if (LLMExtensions.firstTime(extensions)) {
      extensions.injectFunction((LLMFunction.identifier, LLMFunction.info, LLMCallBuilder.build(_)))
      extensions.injectFunction((TryLLMFunction.identifier, TryLLMFunction.info, TryLLMFunction.build _))
      extensions.injectFunction((AnyOrder.identifier, AnyOrder.info, AnyOrder(_)))
      extensions.injectPostHocResolutionRule(_ => CheckCalls)
      LLMExtensions.injectIsolateCalls(extensions)
      extensions.injectOptimizerRule(s => MoveFilters(s))
      extensions.injectPreCBORule(s => PlanCalls(s))
      extensions.injectPlannerStrategy(_ => LLMStrategy)
      extensions.injectRuntimeOptimizerRule(s => MeasureFieldOrder(s))
    }
}

object LLMExtensions {
  private type RuleBuilder = SparkSession => Rule[LogicalPlan]

  // the service file and spark.sql.extensions may both name us; rules must not be there twice
  private val applied =
    Collections.synchronizedMap(new WeakHashMap[SparkSessionExtensions, java.lang.Boolean])

  private def firstTime(extensions: SparkSessionExtensions): Boolean =
    applied.putIfAbsent(extensions, java.lang.Boolean.TRUE) == null

  // Spark 4.3 has a batch of its own before operator optimization; earlier lines run the same rule at the end of
  // analysis, the last point before filters are moved and copied, where calls must still pass for deterministic.
  private def injectIsolateCalls(extensions: SparkSessionExtensions): Unit =
    classOf[SparkSessionExtensions].getMethods.find(_.getName == "injectPreOperatorOptimizationRule") match {
      case Some(inject) => inject.invoke(extensions, (s => IsolateCalls(s, opaque = true)): RuleBuilder)
      case None => extensions.injectPostHocResolutionRule(s => IsolateCalls(s, opaque = false))
    }
}
