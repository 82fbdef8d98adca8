package org.apache.spark.sql.llm

import java.util.Locale

import scala.util.control.NonFatal

import org.apache.spark.sql.catalyst.analysis.TempResolvedColumn
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.util.{toPrettySQL, ArrayData}
import org.apache.spark.sql.types._

/**
 * Arguments of `llm(...)` -> LLMCall. Pure: the analyzer calls it more than once for a view or a SQL function.
 * Stars are expanded before it is called, so it sees columns with their names.
 */
object LLMCallBuilder {
  private val Labels = "labels"
  private val Options = Seq("model", "return_type", "on_error", "temperature", "max_tokens", "seed", "selectivity",
    "first_fields", "last_fields", "provenance", "cache", "reasoning", "reasoning_budget", "models", Labels)
  private val OnError = Seq(LLMOptions.Fail, LLMOptions.Null, LLMOptions.Struct)

  def build(args: Seq[Expression]): Expression = build(args, LLMFunction.name, LLMOptions.Fail)

  /**
   * @param function name of the function that was called, for errors
   * @param onError  its default for on_error; a function that makes NULL of failures cannot be told to fail
   */
  def build(args: Seq[Expression], function: String, onError: String): Expression = {
    val (named, positional) = args.partition(_.isInstanceOf[NamedArgumentExpression])
    val (labels, constant) = named.partition {
      case NamedArgumentExpression(key, _) => key.equalsIgnoreCase(Labels)
      case _ => false
    }
    if (positional.isEmpty) throw LLMErrors.missingInstruction(function)
    val groups = positional.tail.map {
      case set: AnyOrder => (set.children.flatMap(flatten), true)
      case e => (flatten(e), false)
    }
    val fields = groups.flatMap(_._1)
    fields.foreach(f => FieldJson.check(f.name, f.value))
    val starts = groups.scanLeft(0)(_ + _._1.size)
    val sets = groups.zip(starts).collect { case ((set, true), i) if set.size > 1 => i until i + set.size }
    val names = uniqueNames(fields)
    val chosen = options(constant, names, sets.flatMap(_.map(names(_))), function, onError)
    LLMCall(
      asInstruction(positional.head),
      names,
      fields.map(_.value),
      chosen,
      sets = sets,
      labels = labels.headOption.collect { case NamedArgumentExpression(_, value) => asLabels(value, chosen) })
  }

  /** The right answers, for the pilot of `reasoning => 'auto'` or of two models; no other call asks for them. */
  private def asLabels(e: Expression, options: LLMOptions): Expression = {
    if (options.models.isEmpty && options.reasoning.exists(_ != Reasoning.Auto)) {
      throw LLMErrors.invalidOption(
        Labels, toPrettySQL(e), s"reasoning => '${Reasoning.Auto}' beside it, or models => 'small,large'")
    }
    FieldJson.check(Labels, e)
    e
  }

  private case class Field(qualifier: Option[String], name: String, value: Expression)

  /** struct(x AS label) and named_struct(...) name their members; a struct column stays one nested field. */
  private def flatten(e: Expression): Seq[Field] = e match {
    case s: CreateNamedStruct =>
      s.nameExprs.zip(s.valExprs).map { case (n, v) => Field(None, String.valueOf(n.eval()), v) }
    case Alias(child, name) => Seq(Field(None, name, child))
    case a: Attribute => Seq(Field(a.qualifier.lastOption, a.name, a))
    case other => Seq(Field(None, nameOf(other), other))
  }

  private def nameOf(e: Expression): String = e match {
    case n: NamedExpression => n.name
    case g: GetStructField => g.extractFieldName
    case c: Cast => nameOf(c.child)
    case _: Literal => "value"
    case other => toPrettySQL(other.transform { case t: TempResolvedColumn => t.child })
  }

  /** As written; where two are equal, with their table; where that is not enough, numbered. */
  private def uniqueNames(fields: Seq[Field]): Seq[String] = {
    def key(s: String) = s.toLowerCase(Locale.ROOT)
    val repeated = fields.groupBy(f => key(f.name)).filter(_._2.size > 1).keySet
    val used = scala.collection.mutable.HashSet.empty[String]
    fields.map { f =>
      val base = f.qualifier.filter(_ => repeated(key(f.name))).fold(f.name)(q => s"$q.${f.name}")
      (Iterator(base) ++ Iterator.from(2).map(i => s"${base}_$i")).find(n => used.add(key(n))).get
    }
  }

  private def asInstruction(e: Expression): Expression = e.dataType match {
    case _: StringType => e
    case NullType => Cast(e, StringType)
    case other => throw LLMErrors.invalidOption("instruction", other.sql, "a STRING")
  }

  /** @param moving names of the fields in any_order(...), which have no place of their own */
  private def options(
      named: Seq[Expression],
      fields: Seq[String],
      moving: Seq[String],
      function: String,
      onError: String): LLMOptions = {
    val outcomes = OnError.drop(OnError.indexOf(onError))
    val written = named.collect { case NamedArgumentExpression(key, value) =>
      val name = key.toLowerCase(Locale.ROOT)
      if (!Options.contains(name)) throw LLMErrors.unknownOption(function, key, Options)
      if (!value.foldable) throw LLMErrors.optionNotConstant(name, toPrettySQL(value))
      name -> value
    }.toMap
    def read[T](name: String, to: DataType, allowed: String)(check: PartialFunction[Any, T]): Option[T] =
      written.get(name).flatMap { e =>
        val shown = toPrettySQL(e)
        val value =
          try Cast(e, to, Some("UTC"), EvalMode.ANSI).eval()
          catch { case NonFatal(_) => throw LLMErrors.invalidOption(name, shown, allowed) }
        if (value == null) None
        else Some(check.applyOrElse(value, (_: Any) => throw LLMErrors.invalidOption(name, shown, allowed)))
      }
    val text: PartialFunction[Any, String] = { case v if v.toString.nonEmpty => v.toString }
    def two(text: String): Seq[String] = text.split(",", -1).toSeq.map(_.trim).filter(_.nonEmpty)
    def names(option: String, taken: Seq[String]): Seq[String] = {
      val pinnable = fields.diff(moving)
      val outside = if (moving.isEmpty) "" else s"not of those in ${AnyOrder.name}, "
      val known = s"an array of field names, ${outside}each once and in one option only, out of: " +
        (if (pinnable.isEmpty) "none" else pinnable.mkString(", "))
      read(option, ArrayType(StringType), known) { case a: ArrayData =>
        val found = a.toSeq[Any](StringType).map { name =>
          pinnable.find(f => name != null && !taken.contains(f) && f.equalsIgnoreCase(name.toString))
        }
        if (found.contains(None) || found.distinct.size < found.size) {
          throw LLMErrors.invalidOption(option, toPrettySQL(written(option)), known)
        }
        found.flatten
      }.getOrElse(Nil)
    }
    val first = names("first_fields", Nil)
    val options = LLMOptions(
      first = first,
      last = names("last_fields", first),
      model = read("model", StringType, "the name of a model")(text),
      models = read("models", StringType, Models.Expected) {
        case v if two(v.toString).distinct.size == 2 && two(v.toString).size == 2 => two(v.toString)
      }.getOrElse(Nil),
      returnType =
        read("return_type", StringType, ReturnType.allowed)(text).map(ReturnType.parse).getOrElse(StringType),
      onError = read("on_error", StringType, outcomes.map(o => s"'$o'").mkString(" | ")) {
        case v if outcomes.contains(v.toString.toLowerCase(Locale.ROOT)) => v.toString.toLowerCase(Locale.ROOT)
      }.getOrElse(onError),
      temperature = read("temperature", DoubleType, "a number from 0 to 2") {
        case d: Double if d >= 0 && d <= 2 => d
      }.getOrElse(0.0),
      maxTokens = read("max_tokens", IntegerType, "a positive INT") { case n: Int if n > 0 => n },
      seed = read("seed", LongType, "a BIGINT") { case n: Long => n },
      provenance = read("provenance", BooleanType, "true or false") { case b: Boolean => b }.getOrElse(false),
      cache = read("cache", BooleanType, "true or false") { case b: Boolean => b },
      reasoning = read("reasoning", StringType, Reasoning.Modes.map(m => s"'$m'").mkString(" | ")) {
        case v if Reasoning.Modes.contains(v.toString.toLowerCase(Locale.ROOT)) => v.toString.toLowerCase(Locale.ROOT)
      },
      reasoningBudget = read("reasoning_budget", IntegerType, "a positive INT") { case n: Int if n > 0 => n },
      selectivity = read("selectivity", DoubleType, "a number from 0 to 1") { case d: Double if d >= 0 && d <= 1 => d })
    if (options.sampled && options.cache.contains(true)) {
      throw LLMErrors.invalidOption("cache", "true", "false, or temperature 0 or a seed: other answers are draws")
    }
    if (options.models.nonEmpty) {
      val beside = options.model.map(m => s"model => '$m'") ++
        options.reasoning.filter(_ == Reasoning.Auto).map(r => s"reasoning => '$r'")
      beside.headOption.foreach { b =>
        throw LLMErrors.invalidOption(
          "models", s"${toPrettySQL(written("models"))} beside $b", "one of both: one thing is chosen row by row")
      }
    }
    if (options.reasoning.contains(Reasoning.Off)) options.reasoningBudget.foreach { n =>
      throw LLMErrors.invalidOption(
        "reasoning_budget", n.toString, s"reasoning => '${Reasoning.On}' or '${Reasoning.Auto}' beside it")
    }
    options
  }
}
