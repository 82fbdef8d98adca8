package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.FunctionIdentifier
import org.apache.spark.sql.catalyst.expressions.{Expression, ExpressionInfo}

/** `try_llm(...)`: llm() whose rows never fail the query. Spark's own try_ functions give NULL likewise. */
object TryLLMFunction {
  val name = "try_llm"
  val identifier: FunctionIdentifier = FunctionIdentifier(name)

  /** The same call with another default; from there on it is an llm() like any other. */
  def build(args: Seq[Expression]): Expression = LLMCallBuilder.build(args, name, LLMOptions.Null)

  private val usage =
    """_FUNC_(instruction, field, ... [, option => value, ...]) - Asks as llm does; a row that fails becomes NULL.
      |It is llm(..., on_error => 'null').""".stripMargin

  private val arguments = """
    Arguments:
      * instruction, field, option - as for llm.
      * on_error => 'null' | 'struct' - NULL (default), or STRUCT<value, error: STRUCT<condition, message>>.
  """

  private val examples = """
    Examples:
      > SELECT _FUNC_('How many people are named?', text, return_type => 'INT') FROM notes;
       3
       NULL
  """

  private val note = """
    The metric "failed rows" counts them. An engine that fails as a whole still fails the query.
  """

  val info: ExpressionInfo = new ExpressionInfo(
    classOf[LLMCall].getName, null, name, usage, arguments, examples, note, "misc_funcs", "0.1.0", "", "scala_udf")
}
