package org.apache.spark.sql.llm

import scala.collection.mutable

/**
 * What one task of a query finds out for all of them, under the name of a query shape: one claims the work, the others
 * ask again until the text is there. In Python: spark_llm/worker/shelf.py.
 * {{{
 *   claim -> text | claimed | neither: another task is at it
 *   put, give_up, the end of the task, ten minutes of silence: a pilot on a CPU takes some: the claim is over
 * }}}
 *
 * @param nowNs monotonic clock
 */
class Shelf(nowNs: () => Long) {
  import Shelf._

  private val texts = mutable.HashMap.empty[String, String]
  private val claims = mutable.HashMap.empty[String, Claim]

  def claim(key: String, task: Long): Map[String, Any] = texts.get(key) match {
    case Some(text) => Map("text" -> text)
    case None =>
      val free = claims.get(key).forall(c => c.task == task || nowNs() - c.sinceNs > ExpiryNs)
      if (free) claims(key) = Claim(task, nowNs())
      Map("claimed" -> free)
  }

  def put(key: String, text: String): Unit = {
    texts(key) = text
    claims -= key
  }

  def giveUp(key: String, task: Long): Unit = if (claims.get(key).exists(_.task == task)) claims -= key

  def end(task: Long): Unit = claims.filterInPlace((_, c) => c.task != task)

  def get(key: String): Option[String] = texts.get(key)
}

object Shelf {
  private val ExpiryNs = 600L * 1000 * 1000 * 1000

  private case class Claim(task: Long, sinceNs: Long)
}
