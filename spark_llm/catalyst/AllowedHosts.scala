package org.apache.spark.sql.llm

import java.net.URI
import java.util.Locale

import scala.util.Try

import org.apache.spark.SparkEnv

/**
 * `spark.llm.security.allowedHosts`: rows are sent to no other endpoint. Checked when a query is planned; the client
 * that would send checks again. A list that the application was started with cannot be changed by SET.
 */
object AllowedHosts {
  val Key = "spark.llm.security.allowedHosts"

  /** The session's entries, with the application's own list in place of the session's. */
  def pinned(values: Map[String, String]): Map[String, String] =
    values ++ Option(SparkEnv.get).flatMap(_.conf.getOption(Key)).map(Key -> _)

  /** @param model as the call names it */
  def check(session: Map[String, String], model: Option[String]): Unit = {
    val values = pinned(session)
    for (allowed <- values.get(Key); endpoint <- endpointOf(values, model)) {
      val host = Try(new URI(endpoint.trim).getHost).toOption.flatMap(Option(_)).map(normal)
      if (!host.exists(h => patterns(allowed).exists(fits(h, _)))) {
        throw LLMErrors.hostNotAllowed(host.getOrElse(endpoint), allowed)
      }
    }
  }

  private def endpointOf(values: Map[String, String], model: Option[String]): Option[String] =
    EngineKind.of(values ++ model.map("spark.llm.model" -> _)) match {
      case EngineKind.OpenAI =>
        val named = model.orElse(values.get("spark.llm.model"))
          .flatMap(m => values.get(s"spark.llm.models.$m.endpoint"))
        named.orElse(values.get("spark.llm.engine.endpoint"))
      case _ => None
    }

  private def patterns(allowed: String): Seq[String] = allowed.split(",").toSeq.map(normal).filter(_.nonEmpty)

  private def fits(host: String, pattern: String): Boolean =
    if (pattern.startsWith("*.")) host.endsWith(pattern.drop(1)) && host.length > pattern.length - 1
    else host == pattern

  private def normal(host: String): String = host.trim.toLowerCase(Locale.ROOT).stripSuffix(".")
}
