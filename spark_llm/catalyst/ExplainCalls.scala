package org.apache.spark.sql.llm

import org.apache.spark.sql.{classic, ExtendedExplainGenerator, SparkSession}
import org.apache.spark.sql.execution.SparkPlan
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.util.Utils

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

  /**
   * The blocks of a plan's calls; says so where there are none.
   *
   * @param over the query has run to its end, which the plan itself does not tell
   */
  def text(plan: SparkPlan, over: Boolean = false): String = {
    val calls = PlannedCalls(plan)
    val finished = PlannedCalls.finished(plan)
    val settings = plan.conf.getAllConfs
    val blocks = calls.zipWithIndex.flatMap { case (c, i) =>
      CallBlock(c.planned, c.ran, unused = (over && c.ran.isEmpty) || (finished && c.gone), settings).lines(i + 1)
    }
    if (calls.isEmpty) "no call of llm()" else (blocks :+ basis(plan.conf)).mkString("\n")
  }

  private def basis(conf: SQLConf): String =
    "Estimates take 4 characters for a token and fields for independent; statistics count different values to about " +
      s"${math.round(100 * conf.ndvMaxError)} %."

  /**
   * Names this class to Spark in a session that plans a call, so that the jar alone is enough. Providers that the user
   * has named stay; an empty entry switches the section off. Not where ADD JAR brought the class (LiveInstall): every
   * query of a thread that cannot load a provider fails.
   */
  def provide(session: SparkSession): Unit = session match {
    case s: classic.SparkSession
        if Utils.classIsLoadable(Name) && !(getClass.getClassLoader eq s.sharedState.jarClassLoader) =>
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
