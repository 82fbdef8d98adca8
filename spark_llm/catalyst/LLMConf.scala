package org.apache.spark.sql.llm

import java.util.Locale

import scala.jdk.CollectionConverters._

import com.fasterxml.jackson.databind.JsonNode

import org.apache.spark.sql.internal.SQLConf

/**
 * `spark.llm.*` as the JVM half needs it. Names, types and defaults come from conf-entries.json, which
 * `spark_llm/conf.py` owns; values from the session, which includes what the application was started with.
 */
object LLMConf {
  val Prefix = "spark.llm."
  private lazy val entries: JsonNode = Resources.json("conf-entries.json")

  // spark.llm.models.<name>.path and its like: known by prefix and last part
  private val NamedModel = """spark\.llm\.models\.[^.]+\.(path|endpoint|secret|revision)""".r

  def known: Seq[String] = entries.fieldNames.asScala.toSeq

  /** All entries the user has set. Fails for a key that does not exist, since Spark itself accepts any. */
  def userSet(conf: SQLConf): Map[String, String] = {
    val set = conf.getAllConfs.filter(_._1.startsWith(Prefix))
    set.keys.filterNot(k => entries.has(k) || NamedModel.matches(k)).toSeq.sorted.headOption.foreach { k =>
      throw LLMErrors.unknownConf(k, known)
    }
    set
  }

  def default(key: String): Option[String] =
    Option(entries.get(key)).map(_.get("default")).filterNot(d => d == null || d.isNull).map(_.asText)

  def get(values: Map[String, String], key: String): Option[String] = values.get(key).orElse(default(key))

  val MoveFilters = "spark.llm.moveFilters.enabled"
  val ShareCalls = "spark.llm.shareCalls.enabled"
  val Dedup = "spark.llm.dedup.enabled"
  val MaxAnswer = "spark.llm.maxAnswerLen"

  def moveFilters: Boolean = boolean(MoveFilters)
  def shareCalls: Boolean = boolean(ShareCalls)
  def dedup: Boolean = boolean(Dedup)
  def reorderRows: Boolean = rowsStay.isEmpty

  /** Why rows are not moved to where they share more, if so. */
  def rowsStay: Option[String] = stays("spark.llm.reorderRows.enabled")

  /** Why fields stand in the prompt as they are written, if so. */
  def fieldsStay: Option[String] = stays("spark.llm.reorderFields.enabled")

  private def stays(key: String): Option[String] =
    if (!boolean(key)) Some(s"$key=false")
    else Some(s"$Policy=$Original").filter(_ => policy == Original)

  private val Policy = "spark.llm.planner.policy"
  private val Original = "original"
  private val Policies = Seq("default", "fixed", "tree", "ggr", "thorough", Original)

  private def policy: String = {
    val text = session(Policy).get
    Some(text.trim.toLowerCase).filter(Policies.contains)
      .getOrElse(throw LLMErrors.invalidConf(Policy, text, Policies.mkString(", ")))
  }

  /** Number of partitions of the exchange below a call; None: chosen from engines and statistics. */
  def exchangePartitions: Option[Int] = {
    val key = "spark.llm.exchange.partitions"
    session(key).map(positive(key, _))
  }

  /** Rows that a worker orders together. */
  def windowRows: Int = {
    val key = "spark.llm.planner.windowRows"
    positive(key, session(key).get)
  }

  def batchRows(values: Map[String, String]): Int = {
    val key = "spark.llm.batchRows"
    positive(key, get(values, key).get)
  }

  def batchBytes(values: Map[String, String]): Long = {
    val key = "spark.llm.batchBytes"
    bytes(key, get(values, key).get)
  }

  private val Time = """([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)""".r
  private val UnitsSeconds =
    Map("ms" -> 0.001, "s" -> 1.0, "" -> 1.0, "m" -> 60.0, "min" -> 60.0, "h" -> 3600.0, "d" -> 86400.0)
  private val Size = """([0-9]+)\s*([kmgtKMGT]?)(?:[iI]?[bB])?""".r

  /** A time, read by the same rule in spark_llm/conf_entry.py, not by Spark's. */
  private[llm] def seconds(key: String, text: String): Double = text.trim match {
    case Time(number, unit) if UnitsSeconds.contains(lower(unit)) =>
      atLeast(key, text, number.toDouble * UnitsSeconds(lower(unit)), ATime)
    case _ => throw LLMErrors.invalidConf(key, text, expected(key, ATime))
  }

  /** A size, read by the same rule in spark_llm/conf_entry.py, not by Spark's. */
  private[llm] def bytes(key: String, text: String): Long = text.trim match {
    case Size(number, unit) =>
      val size = BigInt(number) << (10 * " kmgt".indexOf(if (unit.isEmpty) " " else lower(unit)))
      atLeast(key, text, size.toDouble, ASize)
      if (size.isValidLong) size.toLong else throw LLMErrors.invalidConf(key, text, expected(key, ASize))
    case _ => throw LLMErrors.invalidConf(key, text, expected(key, ASize))
  }

  private val ATime = "a time such as 250ms, 30s, 10min, 1h, 7d"
  private val ASize = "a size such as 512, 64k, 8m, 2g"

  private def lower(text: String): String = text.toLowerCase(Locale.ROOT)

  private def lowest(key: String): Option[Double] =
    Option(entries.get(key)).map(_.get("min")).filter(_.isNumber).map(_.asDouble)

  private def atLeast(key: String, text: String, value: Double, words: String): Double =
    if (lowest(key).forall(value >= _)) value else throw LLMErrors.invalidConf(key, text, expected(key, words))

  private def expected(key: String, words: String): String =
    words + lowest(key).fold("")(n => " from " + (if (n.isWhole) n.toLong.toString else n.toString))

  private def positive(key: String, text: String): Int =
    text.trim.toIntOption.filter(_ > 0).getOrElse(throw LLMErrors.invalidConf(key, text, "a positive INT"))

  private[llm] def boolean(key: String): Boolean = {
    val text = session(key).get
    text.trim.toLowerCase.toBooleanOption.getOrElse(throw LLMErrors.invalidConf(key, text, "true or false"))
  }

  private[llm] def session(key: String): Option[String] =
    Option(SQLConf.get.getConfString(key, null)).orElse(default(key))
}
