package org.apache.spark.sql.llm

import org.apache.spark.sql.{classic, ExtendedExplainGenerator, SparkSession}
import org.apache.spark.sql.execution.SparkPlan

/**
 * The section `== Extended Information (LLM) ==` of EXPLAIN, `df.explain()` and the SQL tab: a block for each call.
 * Reads the plan and its metrics; starts no job and asks no model.
 * {{{
 *   LLMEvalExec   notes of the rules, Layout, metrics  \
 *   Expected      what statistics said at planning      > CallBlock -> text
 *   conf          model and engine                     /
 * }}}
 */
class ExplainCalls extends ExtendedExplainGenerator {
  override def title: String = "LLM"
  override def generateExtendedInfo(plan: SparkPlan): String = ExplainCalls.text(plan)
}

object ExplainCalls {
  private val Providers = "spark.sql.extendedExplainProviders"
  private val Name = classOf[ExplainCalls].getName

  /** The blocks of a plan's calls; says so where there are none. */
  def text(plan: SparkPlan): String = {
    val calls = PlannedCalls(plan)
    val over = PlannedCalls.finished(plan)
    val settings = plan.conf.getAllConfs
    if (calls.isEmpty) "no call of llm()"
    else calls.zipWithIndex.map { case (c, i) =>
      CallBlock(c.planned, c.ran, unused = over && c.gone, settings).lines(i + 1).mkString("\n")
    }.mkString("\n")
  }

  /**
   * Names this class to Spark in a session that plans a call, so that the jar alone is enough. Providers that the user
   * has named stay; an empty entry switches the section off.
   */
  def provide(session: SparkSession): Unit = session match {
    case s: classic.SparkSession =>
      val conf = s.sessionState.conf
      val named = if (conf.contains(Providers)) Some(conf.getConfString(Providers).trim) else None
      named match {
        case None => conf.setConfString(Providers, Name)
        case Some(others) if others.nonEmpty && !others.split(",").map(_.trim).contains(Name) =>
          conf.setConfString(Providers, s"$others,$Name")
        case _ =>
      }
    case _ =>
  }
}
