package org.apache.spark.sql.llm

import java.nio.charset.StandardCharsets.UTF_8
import java.util.concurrent.ConcurrentHashMap

import scala.util.Try
import scala.util.control.NonFatal

import com.fasterxml.jackson.databind.JsonNode
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path

import org.apache.spark.internal.Logging

/**
 * What pilots of `reasoning => 'auto'` have found, a file for each query shape in `spark.llm.reasoning.dir`. Read when
 * a query is planned, written by the driver when a task has put it on the Shelf.
 */
object FittedRouters extends Logging {
  private val Dir = "spark.llm.reasoning.dir"
  private val MostBytes = 8 * 1024 * 1024

  private val files = new ConcurrentHashMap[String, (Path, Configuration)]

  /** What is kept for a shape; from now on what its pilots find is kept there. */
  def read(key: String, values: Map[String, String], hadoop: => Configuration): Option[String] =
    LLMConf.get(values, Dir).map(_.trim).filter(_.nonEmpty).flatMap { dir =>
      val file = new Path(dir, s"$key.json")
      val conf = hadoop
      files.put(key, (file, conf))
      text(file, conf)
    }

  /** What is kept for a shape, for EXPLAIN. */
  def look(key: String, values: Map[String, String], hadoop: => Configuration): Option[String] =
    LLMConf.get(values, Dir).map(_.trim).filter(_.nonEmpty).flatMap(dir => text(new Path(dir, s"$key.json"), hadoop))

  /** Keeps what a pilot has found; a folder that cannot be written costs the next run a pilot, and this one nothing. */
  def put(key: String, found: String): Unit = Option(files.get(key)).foreach { case (file, conf) =>
    try {
      val system = file.getFileSystem(conf)
      system.mkdirs(file.getParent)
      val part = new Path(file.getParent, s".${file.getName}.${java.util.UUID.randomUUID}")
      val out = system.create(part, true)
      try out.write(found.getBytes(UTF_8))
      finally out.close()
      if (!system.rename(part, file)) {
        system.delete(file, false)
        system.rename(part, file)
      }
    } catch { case NonFatal(e) => logWarning(s"the fitted router could not be kept in $file", e) }
  }

  private def text(file: Path, conf: Configuration): Option[String] = Try {
    val system = file.getFileSystem(conf)
    val status = system.getFileStatus(file)
    require(status.getLen < MostBytes)
    val in = system.open(file)
    try new String(in.readAllBytes(), UTF_8)
    finally in.close()
  }.toOption.filter(t => summary(t).isDefined)

  /** Figures of a pilot, as EXPLAIN and reports have them. */
  case class Summary(reason: String, gain: Double, low: Double, high: Double, rows: Long, extraTokens: Double)

  def summary(text: String): Option[Summary] = Try {
    val n: JsonNode = Resources.parse(text)
    Summary(n.get("reason").asText, n.get("gain").asDouble, n.get("low").asDouble, n.get("high").asDouble,
      n.get("rows").asLong, n.get("extra_tokens").asDouble)
  }.toOption
}
