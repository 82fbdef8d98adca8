package org.apache.spark.sql.llm

import scala.collection.mutable

import com.fasterxml.jackson.databind.JsonNode

import org.apache.spark.util.AccumulatorV2

/**
 * What a run report shows beside the metrics of a call: how its prompts share prefixes, and what failed most.
 * {{{
 *   Python worker   one JSON text a window (worker/profile.py) --reply column--> addPrefixes \
 *   task            condition and message of a failed row ----------------------> addError     > driver: merged
 * }}}
 * Per level of the prompts the numbers are sums over all windows; the tree is that of the largest window.
 */
class CallProfile extends AccumulatorV2[String, CallProfile] {
  import CallProfile._

  private val levels = mutable.ArrayBuffer.empty[Level]
  private var tree: Option[(Long, String)] = None
  private var windows = 0L
  private val errors = mutable.LinkedHashMap.empty[(String, String), Long]

  override def isZero: Boolean = synchronized(windows == 0 && errors.isEmpty)
  override def value: CallProfile = this
  override def add(json: String): Unit = addPrefixes(json)

  override def copy(): CallProfile = synchronized {
    val other = new CallProfile
    other.merge(this)
    other
  }

  override def reset(): Unit = synchronized {
    levels.clear()
    tree = None
    windows = 0
    errors.clear()
  }

  /** @param json of one window */
  def addPrefixes(json: String): Unit = {
    val node = Resources.parse(json)
    val part = node.get("levels")
    val found = (0 until part.size).map(i => Level.of(part.get(i)))
    synchronized {
      windows += 1
      put(found)
      keep(node.get("tokens").asLong, node.get("tree").toString)
    }
  }

  def addError(condition: String, message: String): Unit = synchronized(count((condition, message.take(MaxChars)), 1))

  override def merge(other: AccumulatorV2[String, CallProfile]): Unit = {
    val o = other.value
    val (theirLevels, theirTree, theirWindows, theirErrors) =
      o.synchronized((o.levels.toSeq, o.tree, o.windows, o.errors.toSeq))
    synchronized {
      windows += theirWindows
      put(theirLevels)
      theirTree.foreach { case (tokens, text) => keep(tokens, text) }
      theirErrors.foreach { case (error, n) => count(error, n) }
    }
  }

  /** For the report. */
  def report: Map[String, Any] = synchronized(Map(
    "windows" -> windows,
    "levels" -> levels.toSeq.map(_.report),
    "tree" -> tree.map(_._2)))

  /** Most frequent first. */
  def topErrors: Seq[(String, String, Long)] = synchronized(
    errors.toSeq.sortBy(-_._2).take(TopErrors).map { case ((condition, message), n) => (condition, message, n) })

  /** Rows by condition, all of them. */
  def conditions: Map[String, Long] = synchronized(errors.toSeq.groupMapReduce(_._1._1)(_._2)(_ + _))

  private def put(more: Seq[Level]): Unit = more.zipWithIndex.foreach { case (level, i) =>
    if (i < levels.size) levels(i) = levels(i) + level else levels += level
  }

  private def keep(tokens: Long, text: String): Unit = if (tree.forall(_._1 < tokens)) tree = Some((tokens, text))

  private def count(error: (String, String), n: Long): Unit = {
    val key = if (errors.contains(error) || errors.size < MaxErrors) error else (error._1, Others)
    errors(key) = errors.getOrElse(key, 0L) + n
  }
}

object CallProfile {
  private val TopErrors = 5
  private val MaxErrors = 100
  private val MaxChars = 300
  private val Others = "(other messages)"

  /** @param fields requests by the field that stands at this level */
  case class Level(fields: Map[String, Long], requests: Long, prefixes: Long, tokens: Long, reused: Long) {
    def +(o: Level): Level = Level(
      (fields.toSeq ++ o.fields).groupMapReduce(_._1)(_._2)(_ + _),
      requests + o.requests, prefixes + o.prefixes, tokens + o.tokens, reused + o.reused)

    def report: Map[String, Any] = Map("fields" -> fields, "requests" -> requests, "prefixes" -> prefixes,
      "tokens" -> tokens, "reused_tokens" -> reused)
  }

  object Level {
    def of(node: JsonNode): Level =
      Level(Resources.members(node.get("fields")).map { case (name, n) => name -> n.asLong },
        node.get("requests").asLong, node.get("prefixes").asLong, node.get("tokens").asLong,
        node.get("reused_tokens").asLong)
  }
}
