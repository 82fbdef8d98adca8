package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.FunctionIdentifier
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.types._

/**
 * `any_order(f1, f2, ...)` among the fields of a call: these fields are interchangeable, such as retrieved passages.
 * LLMCallBuilder takes it apart; what is left of it elsewhere is an error, raised by CheckCalls.
 */
case class AnyOrder(children: Seq[Expression]) extends Expression with Unevaluable {
  override def nullable: Boolean = true
  override def dataType: DataType = NullType
  override def prettyName: String = AnyOrder.name
  override protected def withNewChildrenInternal(newChildren: IndexedSeq[Expression]): AnyOrder =
    copy(children = newChildren.toSeq)
}

object AnyOrder {
  val name = "any_order"
  val identifier: FunctionIdentifier = FunctionIdentifier(name)

  private val usage =
    """_FUNC_(field, field, ...) - Declares fields of llm() interchangeable, such as retrieved passages: the order of
      |their values may change from row to row. Only as an argument of llm().""".stripMargin

  private val arguments = """
    Arguments:
      * field - as in llm(). The names stay where they are in the prompt, the values may change places.
  """

  private val examples = """
    Examples:
      > SELECT llm('Answer from the passages.', question, _FUNC_(passage1, passage2, passage3)) FROM retrieved;
       In 1889
  """

  private val note = """
    Rows that have the same passages in another order then count as one question, and passages that many rows have
      come first, where the engine's prefix cache can reuse them.
  """

  val info: ExpressionInfo = new ExpressionInfo(
    classOf[AnyOrder].getName, null, name, usage, arguments, examples, note, "misc_funcs", "0.1.0", "", "scala_udf")
}
