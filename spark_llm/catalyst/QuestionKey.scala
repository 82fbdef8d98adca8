package org.apache.spark.sql.llm

import java.nio.ByteBuffer
import java.security.MessageDigest

import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.expressions.codegen.CodegenFallback
import org.apache.spark.sql.catalyst.util.DateTimeUtils
import org.apache.spark.sql.internal.SQLConf
import org.apache.spark.sql.types._
import org.apache.spark.unsafe.Platform

/**
 * What differs from row to row in a question, in an order that does not depend on how the query writes it: an
 * instruction per row, the values of fields sorted by name, and those of any_order(...) sorted by value. The bytes of
 * these values in Spark's row format are hashed with SHA-256, of which the first 128 bits are the key: whoever can
 * write rows cannot write one that gets another row's answer.
 */
object QuestionKey {
  /** @param zone of the session; dates and times reach the prompt in it */
  def values(call: LLMCall, zone: String): Seq[Expression] = {
    val together = call.sets.flatten.toSet
    val alone = call.fields.indices.filterNot(together).sortBy(call.fieldNames(_)).map(i => value(call.fields(i), zone))
    val sets = sorted(call).map(set => SortArray(CreateArray(set.map(i => json(call.fields(i), zone))), Literal(true)))
    Option(call.instruction).filterNot(_.foldable).map(text).toSeq ++ alone ++ sets
  }

  /** How each field takes part, for the fingerprint of the call: the text 1 is another question than the number. */
  def shape(call: LLMCall): Seq[Any] = {
    val together = call.sets.flatten.toSet
    val alone = call.fields.indices.filterNot(together).sortBy(call.fieldNames(_))
      .map(i => s"${call.fieldNames(i)}:${kind(call.fields(i).dataType)}")
    Seq(alone, sorted(call).map(_.map(call.fieldNames(_)).sorted))
  }

  def zone: String = DateTimeUtils.getZoneId(SQLConf.get.sessionLocalTimeZone).getId

  private def sorted(call: LLMCall): Seq[Seq[Int]] = call.sets.sortBy(_.map(call.fieldNames(_)).min)

  private def kind(t: DataType): String = t match {
    case _: StringType => "text"
    case ByteType | ShortType | IntegerType | LongType => "integer"
    case BooleanType => "boolean"
    case _ => "json"
  }

  private def value(e: Expression, zone: String): Expression = kind(e.dataType) match {
    case "text" => text(e)
    case "integer" => Cast(e, LongType)
    case "boolean" => e
    case _ => json(e, zone)
  }

  // under a collation two texts may be equal that a model tells apart
  private def text(e: Expression): Expression = if (e.dataType == StringType) e else Cast(e, StringType)

  private def json(e: Expression, zone: String): Expression = FieldJson.encode(e, zone)
}

/** The keys of one task's rows. */
class QuestionDigest(values: Seq[Expression], input: Seq[Attribute]) {
  private val tuple = UnsafeProjection.create(values, input)
  private val sha = MessageDigest.getInstance("SHA-256")
  private val out = ByteBuffer.allocate(32)

  /** The key's halves, valid until the next row. */
  var high: Long = 0L
  var low: Long = 0L

  def see(row: InternalRow): Unit = {
    val bytes = tuple(row)
    val start = (bytes.getBaseOffset - Platform.BYTE_ARRAY_OFFSET).toInt
    sha.update(bytes.getBaseObject.asInstanceOf[Array[Byte]], start, bytes.getSizeInBytes)
    sha.digest(out.array, 0, 32)
    high = out.getLong(0)
    low = out.getLong(8)
  }
}

/** Half of the key as a column, for a join of two tables. */
case class QuestionKeyHalf(children: Seq[Expression], first: Boolean) extends Expression with CodegenFallback {
  @transient private lazy val digest = {
    val columns = children.map(c => AttributeReference("v", c.dataType, c.nullable)())
    new QuestionDigest(columns, columns)
  }

  override def dataType: DataType = LongType
  override def nullable: Boolean = false
  override def prettyName: String = "question_key"
  override def eval(input: InternalRow): Any = {
    digest.see(InternalRow.fromSeq(children.map(_.eval(input))))
    if (first) digest.high else digest.low
  }
  override protected def withNewChildrenInternal(newChildren: IndexedSeq[Expression]): QuestionKeyHalf =
    copy(children = newChildren)
}
