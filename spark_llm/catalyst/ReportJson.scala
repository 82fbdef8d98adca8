package org.apache.spark.sql.llm

import org.apache.spark.sql.execution.{LeafExecNode, QueryExecution, SparkPlan}
import org.apache.spark.sql.execution.adaptive.QueryStageExec
import org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionEnd

/**
 * The data of a run report; its form is read in spark_llm/report/read.py. The SQL text is not in it, nor a value of a
 * row: messages of errors and labels of prefixes come only with `spark.llm.logPrompts.enabled`.
 */
object ReportJson {
  private val Version = 1
  private val LogPrompts = "spark.llm.logPrompts.enabled"
  /** Readings that come so much later still belong to the query. */
  val MarginMs = 2500L

  def apply(event: SparkListenerSQLExecutionEnd, startMs: Long, calls: Seq[PlannedCalls.Call]): Map[String, Any] = {
    val query = event.qe
    val conf = query.sparkSession.conf.getAll
    val texts = LLMConf.get(conf, LogPrompts).exists(_.trim.equalsIgnoreCase("true"))
    val failed = event.errorMessage.filter(_.nonEmpty)
    Map(
      "version" -> Version,
      "application" -> query.sparkSession.sparkContext.appName,
      "application_id" -> query.sparkSession.sparkContext.applicationId,
      "execution" -> event.executionId,
      "spark" -> query.sparkSession.version,
      "started_ms" -> startMs,
      "ended_ms" -> event.time,
      "failed" -> failed.isDefined,
      "condition" -> failed.flatMap(conditionOf),
      "budget" -> LLMConf.get(conf, "spark.llm.budget"),
      "calls" -> calls.zipWithIndex.map { case (c, i) => call(c, i + 1, conf, texts) },
      "history" -> history(query),
      "engines" -> ClusterMetrics.since(startMs - MarginMs).filter(_.atMs <= event.time + MarginMs).map { s =>
        Map[String, Any]("executor" -> s.executor, "at_ms" -> s.atMs, "metrics" -> s.engine)
      },
      "memory" -> ClusterMetrics.memories.toSeq.sortBy(_._1).filter(_ => EngineKind.of(conf) == EngineKind.Vllm).map {
        case (executor, m) => m.json + ("executor" -> executor)
      },
      "explain" -> ExplainCalls.text(query.executedPlan, over = true))
  }

  private def call(c: PlannedCalls.Call, number: Int, conf: Map[String, String], texts: Boolean): Map[String, Any] = {
    val node = c.ran.getOrElse(c.latest.getOrElse(c.planned))
    Map(
      "number" -> number,
      "site" -> CallSites.label(node.call),
      "text" -> node.call.written,
      "model" -> node.call.options.models.reduceOption(_ + "," + _).orElse(node.call.options.model)
        .orElse(LLMConf.get(conf, "spark.llm.model")),
      "models" -> node.call.options.models,
      "engine" -> EngineKind.of(conf),
      "fields" -> node.call.fieldNames,
      "order" -> node.layout.order.positions.map(node.call.fieldNames(_)),
      "order_source" -> node.layout.order.why,
      "rows_read" -> rowsRead(node.child),
      "reasoning" -> new ReasoningLines(node, conf).found(node),
      "metrics" -> node.counters.map { case (name, m) => name -> m.value },
      "profile" -> node.profile.report,
      "conditions" -> node.profile.conditions,
      "errors" -> node.profile.topErrors.map { case (condition, message, n) =>
        Map[String, Any]("condition" -> condition, "message" -> Option.when(texts)(message), "rows" -> n)
      })
  }

  /** Rows that the largest table below gave; None where no node counted them. */
  private def rowsRead(plan: SparkPlan): Option[Long] = {
    def leaves(p: SparkPlan): Seq[Long] = p match {
      case s: QueryStageExec => leaves(s.plan)
      case l: LeafExecNode => l.metrics.get("numOutputRows").map(_.value).toSeq
      case other => other.children.flatMap(leaves)
    }
    leaves(plan).maxOption.filter(_ > 0)
  }

  private def history(query: QueryExecution): Seq[Map[String, Any]] =
    Progress.current.find(_.executions.exists(_ eq query)).toSeq.flatMap(_.history.all).map { p =>
      Map("at_ms" -> p.atMs, "requests" -> p.requests, "prompt_tokens" -> p.promptTokens,
        "cached_prompt_tokens" -> p.cachedPromptTokens, "generated_tokens" -> p.generatedTokens)
    }

  // the message may quote a row
  private def conditionOf(message: String): Option[String] =
    """\[([A-Z][A-Z0-9_.]+)\]""".r.findFirstMatchIn(message).map(_.group(1))
}
