package org.apache.spark.sql.llm

import java.util.Locale

import scala.jdk.CollectionConverters._

import com.fasterxml.jackson.databind.JsonNode
import org.apache.commons.text.similarity.LevenshteinDistance

import org.apache.spark.{QueryContext, SparkThrowable}
import org.apache.spark.api.python.PythonException
import org.apache.spark.sql.AnalysisException
import org.apache.spark.sql.catalyst.trees.Origin
import org.apache.spark.sql.execution.QueryExecutionException

/**
 * An error at planning. Spark's converters look conditions up in Spark's own table and crash on foreign ones, so
 * everything that would lead there is overridden; PySpark, classic and Connect, then shows condition and SQLSTATE.
 */
class LLMAnalysisException(val condition: String, text: String, state: String, params: Map[String, String])
    extends AnalysisException(text, None, None, None, Some(condition), params, Array.empty[QueryContext]) {
  override def getQueryContext: Array[QueryContext] = Array.empty
  override def withPosition(origin: Origin): AnalysisException = this
  override def getSqlState: String = state
}

/**
 * An error while the query runs: a row failed and its call says `on_error => 'fail'`, or the engine failed. A
 * QueryExecutionException, since PySpark makes one of its own out of that and asks it for condition and SQLSTATE.
 */
class LLMExecutionException(condition: String, text: String) extends QueryExecutionException(text) with SparkThrowable {
  override def getCondition: String = condition
  override def getSqlState: String = LLMErrors.sqlState(condition)
}

/** Conditions of error-conditions.json, which the Python half reads as well. */
object LLMErrors {
  private lazy val table: JsonNode = Resources.json("error-conditions.json")

  def sqlState(condition: String): String =
    Option(table.get(condition)).map(_.get("sqlState").asText).getOrElse("58000")

  /** "[CONDITION] message Hint: hint SQLSTATE: state" with its parameters filled in. */
  def text(condition: String, params: Map[String, String]): String = {
    val message = table.get(condition).get("message").elements.asScala.map(_.asText).mkString(" ")
    val filled = params.foldLeft(message + hint(condition)) { case (s, (k, v)) => s.replace(s"<$k>", v) }
    s"[$condition] $filled SQLSTATE: ${sqlState(condition)}"
  }

  /** The Python half filled in the message. */
  def whileRunning(condition: String, message: String): LLMExecutionException =
    new LLMExecutionException(condition, s"[$condition] $message${hint(condition)} SQLSTATE: ${sqlState(condition)}")

  /** What the Python half raised as one of our conditions comes out as that, not as a Python traceback. */
  def unwrapping[T](replies: Iterator[T]): Iterator[T] = new Iterator[T] {
    override def hasNext: Boolean = guarded(replies.hasNext)
    override def next(): T = guarded(replies.next())
    private def guarded[R](body: => R): R =
      try body
      catch {
        case e: PythonException =>
          throw Raised.findAllMatchIn(String.valueOf(e.getMessage)).toSeq.lastOption
            .fold[Throwable](e)(m => new LLMExecutionException(m.group(1), m.matched))
      }
  }

  private val Raised = """\[(LLM_[A-Z_]+)\] .* SQLSTATE: \w{5}""".r

  private def hint(condition: String): String =
    Option(table.get(condition)).flatMap(e => Option(e.get("hint"))).map(h => s" Hint: ${h.asText}").getOrElse("")

  def of(condition: String, params: (String, String)*): LLMAnalysisException =
    new LLMAnalysisException(condition, text(condition, params.toMap), sqlState(condition), params.toMap)

  def missingInstruction(function: String): LLMAnalysisException =
    of("LLM_MISSING_INSTRUCTION", "function" -> function)

  def unknownOption(function: String, name: String, known: Seq[String]): LLMAnalysisException =
    of("LLM_UNKNOWN_OPTION", "function" -> function, "option" -> name, "nearest" -> nearest(name, known),
      "allowed" -> known.mkString(", "))

  def optionNotConstant(name: String, value: String): LLMAnalysisException =
    of("LLM_OPTION_NOT_CONSTANT", "option" -> name, "expression" -> value)

  def invalidOption(name: String, value: String, allowed: String): LLMAnalysisException =
    of("LLM_INVALID_OPTION", "option" -> name, "value" -> value, "expected" -> allowed)

  def invalidField(name: String, dataType: String): LLMAnalysisException =
    of("LLM_INVALID_FIELD", "field" -> name, "type" -> dataType)

  def unsupported(feature: String, instead: String): LLMAnalysisException =
    of("LLM_UNSUPPORTED", "feature" -> feature, "instead" -> instead)

  def misplacedAnyOrder(): LLMAnalysisException =
    of("LLM_MISPLACED_ANY_ORDER", "function" -> AnyOrder.name, "call" -> LLMFunction.name)

  def unknownConf(key: String, known: Seq[String]): LLMAnalysisException =
    of("LLM_UNKNOWN_CONF", "key" -> key, "nearest" -> nearest(key, known))

  def modelNotSet(): LLMAnalysisException = of("LLM_MODEL_NOT_SET")

  def invalidConf(key: String, value: String, expected: String): LLMAnalysisException =
    of("LLM_INVALID_CONF", "key" -> key, "value" -> value, "expected" -> expected)

  def hostNotAllowed(host: String, allowed: String): LLMAnalysisException =
    of("LLM_HOST_NOT_ALLOWED", "host" -> host, "allowed" -> allowed)

  def engineFailed(reason: String, log: String): LLMExecutionException =
    new LLMExecutionException("LLM_ENGINE_FAILED", text("LLM_ENGINE_FAILED", Map("reason" -> reason, "log" -> log)))

  def nearest(name: String, known: Seq[String]): String =
    known.minBy(k => LevenshteinDistance.getDefaultInstance.apply(name.toLowerCase(Locale.ROOT), k))
}
