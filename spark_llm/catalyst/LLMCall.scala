package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.util.{quoteIfNeeded, toPrettySQL}
import org.apache.spark.sql.types._
import org.apache.spark.unsafe.types.UTF8String

/**
 * The constant options of a call. Part of the call's identity, but for `selectivity`: two calls are one only if all
 * others are equal.
 *
 * @param returnType type of the answer
 * @param onError    "fail", "null" or "struct"
 * @param maxTokens  generated tokens at most; None = spark.llm.maxAnswerLen
 * @param selectivity share of the rows, 0 to 1, that the call's predicate is expected to keep; a hint for
 *                    OrderPredicates that no answer depends on
 * @param cache whether stored answers are used and new ones kept; None: as spark.llm.cache.enabled says
 * @param provenance whether the answer comes with where it is from
 * @param reasoning whether the model thinks before it answers: off, on or auto; None: as spark.llm.reasoning.mode says
 * @param reasoningBudget thinking tokens a row may use; None: spark.llm.reasoning.maxThinkingLen
 * @param models two of them, the cheap one first, where the router chooses row by row; else none
 * @param first,last names of the fields that stand at the beginning and at the end of the prompt
 */
case class LLMOptions(
    model: Option[String] = None,
    returnType: DataType = StringType,
    onError: String = LLMOptions.Fail,
    temperature: Double = 0.0,
    maxTokens: Option[Int] = None,
    seed: Option[Long] = None,
    selectivity: Option[Double] = None,
    first: Seq[String] = Nil,
    last: Seq[String] = Nil,
    provenance: Boolean = false,
    cache: Option[Boolean] = None,
    reasoning: Option[String] = None,
    reasoningBudget: Option[Int] = None,
    models: Seq[String] = Nil) {

  /** Independent draws: equal questions may have different answers, so calls are never merged. */
  def sampled: Boolean = temperature > 0 && seed.isEmpty

  /** The options that were given, as they are written in SQL. */
  def written: Seq[String] = Seq(
    model.map(m => s"model => '$m'"),
    Option.when(models.nonEmpty)(s"models => '${models.mkString(",")}'"),
    Option.when(returnType != StringType)(s"return_type => '${returnType.sql}'"),
    Option.when(onError != LLMOptions.Fail)(s"on_error => '$onError'"),
    Option.when(temperature != 0.0)(s"temperature => $temperature"),
    maxTokens.map(n => s"max_tokens => $n"),
    seed.map(s => s"seed => $s"),
    Option.when(provenance)("provenance => true"),
    cache.map(c => s"cache => $c"),
    reasoning.map(r => s"reasoning => '$r'"),
    reasoningBudget.map(n => s"reasoning_budget => $n"),
    selectivity.map(s => s"selectivity => $s"),
    LLMOptions.array("first_fields", first),
    LLMOptions.array("last_fields", last)).flatten
}

object LLMOptions {
  val Fail = "fail"
  val Null = "null"
  val Struct = "struct"

  private def array(name: String, values: Seq[String]): Option[String] =
    Option.when(values.nonEmpty)(s"$name => array(${values.map(v => Literal(v).sql).mkString(", ")})")
}

/**
 * One `llm(instruction, field, ...)`. Never evaluated in the JVM: PlanCalls moves it into an LLMEval node.
 *
 * Unevaluable and so not foldable, else EXPLAIN would ask a model about literals. Deterministic during analysis, else
 * Spark would refuse it in aggregates and joins.
 *
 * @param fieldNames names of `fields` in the prompt, unique, same length
 * @param sets       positions of fields declared interchangeable with any_order(...), a group each
 * @param opaque     from IsolateCalls to PlanCalls the call passes for non-deterministic: Spark then neither copies it
 *                   into a filter it pushes down nor infers new predicates from it for other tables
 * @param notes      what the rules decided about this call, in the order of the rules; no part of its identity: neither
 *                   canonical form nor text has them
 * @param labels     right answers where they are known, for the pilot of `reasoning => 'auto'`; never in a prompt
 */
case class LLMCall(
    instruction: Expression,
    fieldNames: Seq[String],
    fields: Seq[Expression],
    options: LLMOptions,
    opaque: Boolean = false,
    notes: Seq[Decision] = Nil,
    sets: Seq[Seq[Int]] = Nil,
    labels: Option[Expression] = None) extends Expression with Unevaluable {

  override lazy val canonicalized: Expression = withCanonicalizedChildren match {
    case c: LLMCall => c.copy(options = options.copy(selectivity = None), notes = Nil)
    case other => other
  }

  /** The call with one more note; the same call where it has that note, so that rules reach a fixed point. */
  def noted(more: Decision*): LLMCall = {
    val fresh = more.distinct.filterNot(notes.contains)
    if (fresh.isEmpty) this else copy(notes = notes ++ fresh)
  }

  /** Positions of the pinned fields. */
  def first: Seq[Int] = options.first.map(fieldNames.indexOf)
  def last: Seq[Int] = options.last.map(fieldNames.indexOf)

  override lazy val deterministic: Boolean = !opaque && children.forall(_.deterministic)

  override def children: Seq[Expression] = (instruction +: fields) ++ labels
  override def nullable: Boolean = true
  override def prettyName: String = LLMFunction.name

  override def dataType: DataType = Outcome.dataType(options)

  /** As it is written, but fields by their names only. */
  def written: String = text(fieldNames, ids = false)

  override def toString: String =
    text(fieldNames.zip(fields).map { case (name, field) => s"$name=$field" }, ids = true)

  private def text(named: Seq[String], ids: Boolean): String = {
    val shown = instruction match {
      case Literal(s: UTF8String, _: StringType) => LLMCall.shorten(s.toString)
      case a: Attribute if !ids => a.name
      case other => other.toString
    }
    val known = labels.map(e => s"labels => ${if (ids) e.toString else toPrettySQL(e)}")
    ((shown +: grouped(named)) ++ options.written ++ known).mkString(s"$prettyName(", ", ", ")")
  }

  override def sql: String = {
    val named = fieldNames.zip(fields).map {
      case (name, a: NamedExpression) if a.name == name => a.sql
      case (name, field) if field.sql == name => name
      case (name, field) => s"struct(${field.sql} AS ${quoteIfNeeded(name)})"
    }
    val known = labels.map(e => s"labels => ${e.sql}")
    ((instruction.sql +: grouped(named)) ++ options.written ++ known).mkString(s"$prettyName(", ", ", ")")
  }

  private def grouped(texts: Seq[String]): Seq[String] = texts.zipWithIndex.flatMap { case (text, i) =>
    sets.find(_.contains(i)).fold(Option(text)) { set =>
      Option.when(set.head == i)(set.map(texts(_)).mkString(s"${AnyOrder.name}(", ", ", ")"))
    }
  }

  override protected def withNewChildrenInternal(newChildren: IndexedSeq[Expression]): LLMCall =
    copy(
      instruction = newChildren.head,
      fields = newChildren.slice(1, 1 + fields.size).toSeq,
      labels = labels.map(_ => newChildren.last))
}

object LLMCall {
  private val ShownChars = 48

  def in(e: Expression): Boolean = e.exists(_.isInstanceOf[LLMCall])

  private def shorten(s: String): String =
    if (s.length > ShownChars) s"'${s.take(ShownChars - 3)}...'" else s"'$s'"
}
