package org.apache.spark.sql.llm

import scala.jdk.CollectionConverters._

import com.fasterxml.jackson.databind.{JsonNode, ObjectMapper}

/** JSON tables that lie beside these classes in the jar and beside the Python modules in the package. */
object Resources {
  private val mapper = new ObjectMapper

  def json(name: String): JsonNode = {
    val in = getClass.getResourceAsStream(s"/org/apache/spark/sql/llm/$name")
    if (in == null) throw new IllegalStateException(s"$name is missing in the jar: build it again with `spark-llm jar`")
    try mapper.readTree(in)
    finally in.close()
  }

  def parse(text: String): JsonNode = mapper.readTree(text)

  /** The members of an object. */
  def members(node: JsonNode): Map[String, JsonNode] = node.fieldNames.asScala.map(k => k -> node.get(k)).toMap

  /** Scala strings, numbers, booleans, None, Map and Seq as JSON text. */
  def write(value: Any): String = mapper.writeValueAsString(toJava(value))

  private def toJava(value: Any): Any = {
    value match {
      case m: Map[_, _] => m.map { case (k, v) => k.toString -> toJava(v) }.asJava
      case s: Seq[_] => s.map(toJava).asJava
      case Some(v) => toJava(v)
      case None => null
      case other => other
    }
  }
}
