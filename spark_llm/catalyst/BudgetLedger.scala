package org.apache.spark.sql.llm

import scala.collection.mutable

/**
 * What one query may spend, has spent and has promised; on the driver, no Spark in it.
 * {{{
 *   lease   sizes of prompts -> how many of them may be sent; their upper bound is reserved
 *   settle  what the answers really took: the rest of the reservation is free again
 *   end     a task is over: what it never settled counts as spent
 *
 *   spent + reserved <= allowed, so no order of events spends more than upper bounds are wrong by
 * }}}
 * The bound of a request is its bytes times the most tokens a byte that any settled prompt of the query had, and the
 * longest answer. The chat template weighs more in short prompts, so that a prompt shorter than all settled ones may
 * have more tokens a byte: a token for each byte and the template's, though no more than the shortest settled one.
 *
 * @param nowNs monotonic clock
 */
class BudgetLedger(val budget: Budget, nowNs: () => Long) {
  import BudgetLedger._

  private case class Reserved(task: Long, amount: Double)

  private val started = nowNs()
  private val outstanding = mutable.HashMap.empty[Long, Reserved]
  private var reserved = 0.0
  private var settled = 0.0
  private var tokensPerByte: Option[Double] = None
  private var shortest = Int.MaxValue // bytes of a settled prompt
  private var nextId = 0L
  private var usedUp = false

  private def timed: Boolean = budget.unit == Budget.Seconds

  def spent: Double = if (timed) (nowNs() - started) / 1e9 else settled
  def exceeded: Boolean = usedUp

  /**
   * Asks for requests, in the order in which they would be sent.
   *
   * @param bytes     size of each prompt
   * @param maxAnswer tokens of the longest answer
   */
  def lease(task: Long, bytes: Seq[Int], maxAnswer: Int): Reply =
    if (usedUp) Exceeded
    else if (timed) {
      usedUp = spent >= budget.amount
      if (usedUp) Exceeded else Granted(reserve(task, 0.0), bytes.size)
    } else {
      val free = budget.amount - settled - reserved
      val sums = bytes.iterator.map(bound(_, maxAnswer)).scanLeft(0.0)(_ + _).drop(1).takeWhile(_ <= free).toSeq
      if (sums.nonEmpty) Granted(reserve(task, sums.last), sums.size)
      else if (outstanding.nonEmpty) Later
      else {
        usedUp = true
        Exceeded
      }
    }

  /**
   * @param mostPerByte the most tokens a byte among these prompts; 0 where the engine did not count
   * @param least       bytes of the shortest of them
   */
  def settle(id: Long, prompt: Long, cached: Long, answer: Long, mostPerByte: Double, least: Int): Unit =
    outstanding.remove(id).foreach { r =>
      release(r)
      settled += budget.cost(prompt.toDouble, cached.toDouble, answer.toDouble)
      if (mostPerByte > 0) {
        tokensPerByte = Some(math.max(mostPerByte, tokensPerByte.getOrElse(0.0)))
        shortest = math.min(shortest, least)
      }
    }

  /** Nobody knows what became of these requests: they count in full. */
  def lose(id: Long): Unit = outstanding.remove(id).foreach { r =>
    release(r)
    settled += r.amount
  }

  def end(task: Long): Unit = outstanding.collect { case (id, r) if r.task == task => id }.toSeq.foreach(lose)

  private def bound(bytes: Int, maxAnswer: Int): Double = {
    val unknown = bytes + TemplateTokens.toDouble
    val prompt = tokensPerByte.fold(unknown)(r => math.min(unknown, math.ceil(math.max(bytes, shortest) * r)))
    budget.cost(prompt, 0, maxAnswer)
  }

  private def reserve(task: Long, amount: Double): Long = {
    nextId += 1
    outstanding(nextId) = Reserved(task, amount)
    reserved += amount
    nextId
  }

  private def release(r: Reserved): Unit =
    // sums of fractions must not leave dust behind
    reserved = if (outstanding.isEmpty) 0.0 else reserved - r.amount
}

object BudgetLedger {
  /** What chat templates add at most. */
  private val TemplateTokens = 64

  sealed trait Reply
  /** The first `count` requests may be sent. */
  case class Granted(lease: Long, count: Int) extends Reply
  /** Nothing fits until others have settled. */
  case object Later extends Reply
  /** Nothing fits and nothing will come back. */
  case object Exceeded extends Reply
}
