package org.apache.spark.sql.llm

import org.apache.spark.sql.catalyst.FunctionIdentifier
import org.apache.spark.sql.catalyst.expressions.ExpressionInfo

/** What `SHOW FUNCTIONS` and `DESCRIBE FUNCTION EXTENDED llm` tell. */
object LLMFunction {
  val name = "llm"
  val identifier: FunctionIdentifier = FunctionIdentifier(name)

  private val usage =
    """_FUNC_(instruction, field, ... [, option => value, ...]) - Asks a language model the instruction about
      |each row. The fields are a set: their names and values reach the model as one JSON object.""".stripMargin

  private val arguments = """
    Arguments:
      * instruction - STRING, what to ask. NULL gives NULL without a request.
      * field - a column, *, t.*, * EXCEPT (c), struct(x AS label) or named_struct('label', x). A NULL field is
          left out of the row's JSON; if all fields are NULL the answer is NULL without a request.
      * model => STRING - a name or path; default spark.llm.model.
      * models => STRING - two names such as 'small,large', in place of model: small answers all rows, large those
          where a pilot says that it pays. Each is the engine's own model or has spark.llm.models.NAME.endpoint.
      * return_type => STRING - DDL of the answer's type, such as 'BOOLEAN', 'INT', 'DOUBLE', 'DATE',
          'ARRAY<STRING>', 'STRUCT<topic: STRING, urgent: BOOLEAN>'. The engine is constrained to it. Default STRING.
      * on_error => 'fail' | 'null' | 'struct' - what a row that fails does: fails the query (default), becomes
          NULL, or STRUCT<value, error: STRUCT<condition, message>>.
      * temperature => DOUBLE - 0 (default) always takes the likeliest answer.
      * max_tokens => INT - generated tokens at most per answer; default spark.llm.maxAnswerLen.
      * seed => BIGINT - makes answers at temperature > 0 repeatable.
      * selectivity => DOUBLE - share of the rows, 0 to 1, that the predicate with this call keeps. A hint for the order
          of several LLM predicates; answers do not depend on it.
      * provenance => BOOLEAN - true: STRUCT<value, provenance: STRUCT<prompt_hash, model, revision, source,
          reasoning>>, with error in between at on_error => 'struct'. source is 'engine', 'dedup' (asked for an equal
          row) or 'cache', where prompt_hash is NULL: the cache keeps answers by question, and no prompt was made.
          reasoning is the mode that answered, 'off' or 'on'; NULL from the cache. So is model where there are two.
      * cache => BOOLEAN - true: earlier answers are looked up and new ones kept; false: neither. Default
          spark.llm.cache.enabled.
      * reasoning => 'off' | 'on' | 'auto' - whether the model thinks before it answers: never, always, or on the rows
          where a pilot says that it pays. The thinking is no part of the answer. Default spark.llm.reasoning.mode.
      * reasoning_budget => INT - thinking tokens at most per row; default spark.llm.reasoning.maxThinkingLen.
      * labels => column - right answers where they are known, NULL elsewhere; what the pilot of 'auto', or of two
          models, measures with. They reach no prompt. Without them it takes repeated answers of the mode that thinks,
          or of the large model, for right.
      * first_fields => ARRAY<STRING>, last_fields => ARRAY<STRING> - names of fields that keep their place at the
          beginning and at the end of the prompt. The others may be ordered so that rows share long prefixes.
  """

  private val examples = """
    Examples:
      > SELECT _FUNC_('Is this review positive?', review, return_type => 'BOOLEAN') FROM reviews;
       true
      > SELECT title FROM movies WHERE _FUNC_('Is it suitable for children?', *) = 'Yes';
       Spirited Away
      > SELECT _FUNC_('Give topic and urgent as JSON.', text, return_type => 'STRUCT<topic: STRING, urgent: BOOLEAN>')
         FROM tickets;
       {"topic":"billing","urgent":true}
  """

  private val note = """
    Options must be constant and are given by name. Equal questions are asked once at temperature 0 or with a seed.
      Fields that are interchangeable are declared with any_order(f1, f2, ...).
  """

  val info: ExpressionInfo = new ExpressionInfo(
    classOf[LLMCall].getName, null, name, usage, arguments, examples, note, "misc_funcs", "0.1.0", "", "scala_udf")
}
