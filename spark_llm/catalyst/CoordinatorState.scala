package org.apache.spark.sql.llm

import scala.jdk.CollectionConverters._
import scala.util.control.NonFatal

import com.fasterxml.jackson.databind.JsonNode

/**
 * What the driver knows of running queries, and its answers to the executors: a JSON object in, one out, `op` says
 * which.
 * {{{
 *   lease     query, task, budget, prices, bytes, max_answer -> granted, lease | wait_s | exceeded, spent, allowed
 *   settle    query, lease, prompt, cached, answer, per_byte | lost -> {}
 *   pace      endpoint, requests, tokens, rpm, tpm           -> wait_s
 *   failures  query, call, partition, ... -> stop
 *   claim     query, call, task              -> text | claimed
 *   put       query, call, task, text | give_up -> {}
 * }}}
 *
 * @param nowNs monotonic clock
 * @param keep  told what is put, by name: for the next queries
 */
class CoordinatorState(nowNs: () => Long, keep: (String, String) => Unit) {
  import CoordinatorState._

  def this(nowNs: () => Long) = this(nowNs, (_, _) => ())

  private val budgets = new Recent[String, BudgetLedger](Queries)
  private val failures = new Recent[(String, Long), FailureCounts](Queries)
  private val shelves = new Recent[String, Shelf](Queries)
  private val limiters = new Recent[String, RateLimiter](Queries)
  // a worker may ask for its task a moment after Spark has ended it
  private val ended = new Recent[Long, Unit](Tasks)

  def answer(message: String): String = synchronized {
    val reply: Map[String, Any] =
      try {
        val ask = Resources.parse(message)
        ask.path("op").asText match {
          case "lease" => lease(ask)
          case "settle" => settle(ask)
          case "pace" => pace(ask)
          case "failures" => failed(ask)
          case "claim" => claim(ask)
          case "put" => put(ask)
          case "give_up" =>
            shelf(ask).giveUp(ask.get("call").asText, ask.get("task").asLong)
            Map.empty
          case other => Map("error" -> s"there is no op '$other'")
        }
      } catch { case NonFatal(e) => Map("error" -> s"${e.getClass.getSimpleName}: ${e.getMessage}") }
    Resources.write(reply)
  }

  /** A task is over, however it ended. */
  def end(task: Long): Unit = synchronized {
    ended.getOrElseUpdate(task, ())
    budgets.values.foreach(_.end(task))
    shelves.values.foreach(_.end(task))
  }

  /** What a task of the query has put under a name. */
  def found(query: String, call: String): Option[String] = synchronized(shelves.get(query).flatMap(_.get(call)))

  private def shelf(ask: JsonNode): Shelf = shelves.getOrElseUpdate(ask.get("query").asText, new Shelf(nowNs))

  private def claim(ask: JsonNode): Map[String, Any] = {
    val task = ask.get("task").asLong
    if (ended.get(task).isDefined) Map("error" -> s"task $task is over")
    else shelf(ask).claim(ask.get("call").asText, task)
  }

  private def put(ask: JsonNode): Map[String, Any] = {
    val (call, text) = (ask.get("call").asText, ask.get("text").asText)
    shelf(ask).put(call, text)
    keep(call, text)
    Map.empty
  }

  /** What the query with this root execution id has spent, in words. */
  def spent(query: String): Option[String] = synchronized(budgets.get(query).map(l => l.budget.show(l.spent)))

  private def lease(ask: JsonNode): Map[String, Any] = {
    val task = ask.get("task").asLong
    if (ended.get(task).isDefined) Map("error" -> s"task $task is over")
    else {
      val ledger = budgets.getOrElseUpdate(ask.get("query").asText, new BudgetLedger(budgetOf(ask), nowNs))
      ledger.lease(task, ask.get("bytes").elements.asScala.map(_.asInt).toSeq, ask.get("max_answer").asInt) match {
        case BudgetLedger.Granted(id, count) => Map("granted" -> count, "lease" -> id)
        case BudgetLedger.Later => Map("granted" -> 0, "wait_s" -> RetryS)
        case BudgetLedger.Exceeded => Map("granted" -> 0, "exceeded" -> true,
          "spent" -> ledger.budget.show(ledger.spent), "allowed" -> ledger.budget.text)
      }
    }
  }

  private def budgetOf(ask: JsonNode): Budget =
    Budget.of(ask.get("conf").properties.asScala.map(e => e.getKey -> e.getValue.asText).toMap).get

  private def settle(ask: JsonNode): Map[String, Any] = {
    budgets.get(ask.get("query").asText).foreach { ledger =>
      val id = ask.get("lease").asLong
      if (ask.path("lost").asBoolean) ledger.lose(id)
      else ledger.settle(id, ask.get("prompt").asLong, ask.get("cached").asLong, ask.get("answer").asLong,
        ask.get("per_byte").asDouble, ask.path("least").asInt(Int.MaxValue))
    }
    Map.empty
  }

  private def pace(ask: JsonNode): Map[String, Any] = {
    def limit(name: String): Option[Long] = Option(ask.get(name)).filterNot(_.isNull).map(_.asLong)
    val limiter = limiters.getOrElseUpdate(ask.get("endpoint").asText, new RateLimiter(nowNs))
    Map("wait_s" ->
      limiter.waitSeconds(ask.get("requests").asLong, ask.get("tokens").asLong, limit("rpm"), limit("tpm")))
  }

  private def failed(ask: JsonNode): Map[String, Any] = {
    val key = (ask.get("query").asText, ask.get("call").asLong)
    val counts = failures.getOrElseUpdate(key,
      new FailureCounts(ask.get("allowed").asDouble, ask.get("partitions").asInt))
    val errors = ask.get("errors").elements.asScala.map { e =>
      (e.get(0).asText, e.get(1).asText) -> e.get(2).asLong
    }.toMap
    Map("stop" -> counts.report(ask.get("partition").asInt, ask.get("attempt").asLong,
      RowCounts(ask.get("rows").asLong, ask.get("failed").asLong, errors), ask.get("done").asBoolean))
  }
}

object CoordinatorState {
  private val Queries = 1000
  private val Tasks = 10000
  private val RetryS = 0.05

  /** The entries that were used last. */
  private class Recent[K, V](most: Int) {
    private val map = new java.util.LinkedHashMap[K, V](16, 0.75f, true) {
      override def removeEldestEntry(eldest: java.util.Map.Entry[K, V]): Boolean = size > most
    }
    def get(key: K): Option[V] = Option(map.get(key))
    def values: Seq[V] = map.values.asScala.toSeq
    def getOrElseUpdate(key: K, value: => V): V = get(key).getOrElse { map.put(key, value); get(key).get }
  }
}
