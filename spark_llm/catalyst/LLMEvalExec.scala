package org.apache.spark.sql.llm

import org.apache.hadoop.fs.Path

import org.apache.spark.JobArtifactSet
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions._
import org.apache.spark.sql.catalyst.plans.physical.Partitioning
import org.apache.spark.sql.catalyst.util.DateTimeUtils
import org.apache.spark.sql.execution._
import org.apache.spark.sql.execution.metric.{SQLMetric, SQLMetrics}
import org.apache.spark.sql.execution.python.{ArrowPythonRunner, PythonSQLMetrics}
import org.apache.spark.sql.types._

/**
 * Asks one call for every row, through the Python worker.
 * {{{
 *   child rows --guard true--> fields as JSON text --Arrow--> Python worker --Arrow--> answer, errors, counts
 *        \---- all rows wait in a queue that spills to disk ----------------------------> row + answer
 * }}}
 * Over an exchange the rows are sorted by the fields, and a run of rows with equal fields is asked once.
 */
case class LLMEvalExec(
    call: LLMCall,
    guard: Option[Expression],
    result: AttributeReference,
    layout: Layout,
    stored: Option[Attribute],
    cache: Option[CallCache],
    child: SparkPlan) extends UnaryExecNode with PythonSQLMetrics {

  override def output: Seq[Attribute] = LLMEval.output(child.output, stored, result)
  override def producedAttributes: AttributeSet = AttributeSet(Seq(result))
  override def outputPartitioning: Partitioning = child.outputPartitioning
  override def outputOrdering: Seq[SortOrder] = child.outputOrdering
  override def requiredChildOrdering: Seq[Seq[SortOrder]] = Seq(sortOrder)
  override protected def withNewChildInternal(newChild: SparkPlan): LLMEvalExec = copy(child = newChild)

  /** Without those of Spark's Python runner. */
  private[llm] lazy val counters: Map[String, SQLMetric] = Map(
    LLMMetrics.Rows -> SQLMetrics.createMetric(sparkContext, "rows"),
    LLMMetrics.OutputRows -> SQLMetrics.createMetric(sparkContext, "answered rows"),
    LLMMetrics.OutputBytes -> SQLMetrics.createSizeMetric(sparkContext, "answered bytes"),
    LLMMetrics.DuplicateRows -> SQLMetrics.createMetric(sparkContext, "duplicate rows"),
    LLMMetrics.Requests -> SQLMetrics.createMetric(sparkContext, "requests"),
    LLMMetrics.PromptTokens -> SQLMetrics.createMetric(sparkContext, "prompt tokens"),
    LLMMetrics.CachedPromptTokens -> SQLMetrics.createMetric(sparkContext, "cached prompt tokens"),
    LLMMetrics.GeneratedTokens -> SQLMetrics.createMetric(sparkContext, "generated tokens"),
    LLMMetrics.Questions -> SQLMetrics.createMetric(sparkContext, "questions"),
    LLMMetrics.ThinkingTokens -> SQLMetrics.createMetric(sparkContext, "thinking tokens"),
    LLMMetrics.ReasonedRows -> SQLMetrics.createMetric(sparkContext, "rows answered with reasoning"),
    LLMMetrics.CutRows -> SQLMetrics.createMetric(sparkContext, "rows with thinking cut off"),
    LLMMetrics.UnaskedRows -> SQLMetrics.createMetric(sparkContext, "rows that thought unasked"),
    LLMMetrics.CostlyRows -> SQLMetrics.createMetric(sparkContext, "rows answered by the costly model"),
    LLMMetrics.CostlyTokens -> SQLMetrics.createMetric(sparkContext, "tokens of the costly model"),
    LLMMetrics.Retries -> SQLMetrics.createMetric(sparkContext, "retries"),
    LLMMetrics.FailedRows -> SQLMetrics.createMetric(sparkContext, "failed rows"),
    LLMMetrics.CachedRows -> SQLMetrics.createMetric(sparkContext, "rows from cache"),
    LLMMetrics.OverBudgetRows -> SQLMetrics.createMetric(sparkContext, "rows over budget"),
    LLMMetrics.SkippedRows -> SQLMetrics.createMetric(sparkContext, "rows skipped by condition"),
    LLMMetrics.EngineWait -> SQLMetrics.createTimingMetric(sparkContext, "engine wait"))
  override lazy val metrics: Map[String, SQLMetric] = counters ++ pythonMetrics

  /** What a run report shows beside the metrics; filled where spark.llm.report.dir is set. */
  @transient private[llm] lazy val profile: CallProfile = new CallProfile

  override def simpleString(maxFields: Int): String = LLMEval.describe(call, guard, result, layout, stored)

  override def verboseStringWithOperatorId(): String =
    s"""$formattedNodeName
       |Call: $call
       |Fields: ${call.fieldNames.mkString("[", ", ", "]")}
       |Return type: ${call.options.returnType.sql}, on error: ${call.options.onError}
       |Only if: ${guard.fold("always")(_.toString)}
       |Field order: ${layout.order.positions.map(call.fieldNames(_)).mkString("[", ", ", "]")} (${layout.order.why})
       |Deduplication: ${layout.dedup.describe}
       |Exchange: ${layout.exchange.describe}
       |Sorted by: ${sortOrder.map(_.sql).mkString("[", ", ", "]")}
       |""".stripMargin

  // EnsureRequirements makes one sort of equal ones of several calls; all fields take part, so that the order within a
  // partition, and with it every prompt, is the same when a task runs again
  private def sortOrder: Seq[SortOrder] = {
    val keys = if (layout.sorted) FieldKeys.of(call, layout.order.positions) else Nil
    val first = if (keys.isEmpty || layout.byPrefix) Nil else Seq(new XxHash64(keys))
    (first ++ keys).map(SortOrder(_, Ascending))
  }

  /** The query that ran this node: EXPLAIN asks for what it has spent. */
  @transient @volatile private[llm] var query: Option[String] = None

  /** Where the run's fitted router is found, for a call with `reasoning => 'auto'` or two models. */
  @transient @volatile private[llm] var routerKey: Option[String] = None

  override protected def doExecute(): RDD[InternalRow] = {
    val values = Models.settings(call.options, AllowedHosts.pinned(LLMConf.userSet(conf)))
    val kind = EngineKind.of(values)
    EngineKind.check(kind, values)
    val instruction: Option[String] =
      if (call.instruction.foldable) Option(call.instruction.eval()).map(_.toString) else None
    // Spark knows short names, such as ACT, that Python does not
    val zone = DateTimeUtils.getZoneId(conf.sessionLocalTimeZone).getId
    val python = PythonCommand.executable(conf)
    val asked = call.fields.indices.map(i => s"f$i" -> FieldJson.encode(call.fields(i), zone)) ++
      Option.when(instruction.isEmpty)("instruction" -> call.instruction) ++
      call.labels.map(e => "label" -> FieldJson.encode(e, zone))
    // an Arrow batch without columns loses its row count
    val columns = if (asked.isEmpty) Seq("row" -> Literal(0)) else asked
    val reported = RunReport.folder(values).map { _ =>
      sparkContext.register(profile)
      profile
    }
    query = QueryId.onDriver(sparkContext)
    routerKey = Reasoning.routerKey(call, values)
    val limits = SharedLimits(values, kind, pilot = routerKey.isDefined)
    if (limits.any) Coordinator.open(sparkContext)
    val input = child.execute()
    val job = LLMEvalJob(
      function = PythonCommand.function(spec(instruction, values, zone, routerKey), python),
      engine = Option.when(kind == EngineKind.Vllm)(EngineSpec(values, python)),
      argumentExpressions = columns.map(_._2),
      argumentSchema = StructType(columns.map { case (n, e) => StructField(n, e.dataType) }),
      fieldNames = call.fieldNames,
      tuple = if (layout.sorted && layout.dedup == Dedup.Query) call.children.filterNot(_.foldable) else Nil,
      guard = guard,
      stored = stored.map(AnswerText.read(_, call.options.returnType)),
      keep = cache.map(keep(_, zone)),
      input = child.output,
      output = output,
      returnType = call.options.returnType,
      onError = call.options.onError,
      outcome = new Outcome(
        call.options.onError == LLMOptions.Struct,
        if (call.options.provenance) Models.identities(call.options, values) else Nil),
      resultId = result.exprId.id,
      batchRows = LLMConf.batchRows(values),
      batchBytes = LLMConf.batchBytes(values),
      timeZone = zone,
      largeVarTypes = conf.arrowUseLargeVarTypes,
      runnerConf = ArrowPythonRunner.getPythonRunnerConfMap(conf),
      artifact = JobArtifactSet.getCurrentJobArtifactState.map(_.uuid),
      metrics = counters,
      pythonMetrics = pythonMetrics,
      site = CallSites.label(call),
      profile = reported,
      port = limits.ofWorkers,
      failures = limits.maxFailedRatio.map(FailureReport.Limit(_, result.exprId.id, input.getNumPartitions)),
      errorTable = ErrorTable.of(values, session, call, query))
    input.mapPartitionsWithIndexInternal((index, rows) => new LLMEvalPartition(job, index, rows).answers())
  }

  private def keep(cache: CallCache, zone: String): KeepAnswers = {
    CacheFolder(new Path(cache.folder), session.sessionState.newHadoopConf()).create()
    CacheUpkeep.begin(session, Seq(cache), over = false)
    val logged = if (!CacheConf.logPrompts) Nil else Seq(call.instruction, FieldJson.all(call, zone))
    KeepAnswers(CacheTarget.of(session, cache), QuestionKey.values(call, zone), logged)
  }

  /** The part of the spec about the order of fields and rows; read in spark_llm/worker/layout.py. */
  private[llm] def layoutSpec: Map[String, Any] = Map(
    "field_order" -> layout.order.positions,
    "any_order" -> call.sets,
    "first" -> call.first,
    "last" -> call.last,
    // sorted by a hash, equal rows stand together but neighbours share nothing
    "sorted" -> (layout.sorted && layout.byPrefix))

  /** What the Python worker is told; the format is read in spark_llm/worker. */
  private def spec(
      instruction: Option[String],
      values: Map[String, String],
      zone: String,
      routerKey: Option[String]): String =
    Resources.write(Map[String, Any](
      "version" -> 6,
      "call" -> (layoutSpec ++ Map[String, Any](
        "instruction" -> instruction,
        "field_names" -> call.fieldNames,
        "model" -> call.options.model,
        "models" -> call.options.models,
        "return_type" -> call.options.returnType.json,
        "on_error" -> call.options.onError,
        "provenance" -> call.options.provenance,
        "kept" -> cache.isDefined,
        "temperature" -> call.options.temperature,
        "max_tokens" -> call.options.maxTokens,
        "seed" -> call.options.seed,
        "reasoning" -> call.options.reasoning,
        "reasoning_budget" -> call.options.reasoningBudget,
        "labels" -> call.labels.isDefined,
        "router_key" -> routerKey,
        "router" -> routerKey.flatMap(FittedRouters.read(_, values, session.sessionState.newHadoopConf())),
        "rows" -> layout.expected.flatMap(_.rows).map(n => math.round(n)))),
      // of this call, which may say otherwise than the session; in_flight.py and flow.py read it
      "conf" -> (values ++ Map("spark.sql.session.timeZone" -> zone, CacheConf.Enabled -> cache.isDefined.toString))))
}

/** Keys of the node's SQL metrics, as in the REST API's `metrics` map and in tests. */
object LLMMetrics {
  val Rows = "rows"
  val OutputRows = "outputRows"
  val OutputBytes = "outputBytes"
  val DuplicateRows = "duplicateRows"
  val Requests = "requests"
  val PromptTokens = "promptTokens"
  val CachedPromptTokens = "cachedPromptTokens"
  val GeneratedTokens = "generatedTokens"
  val Questions = "questions"
  val ThinkingTokens = "thinkingTokens"
  val ReasonedRows = "reasonedRows"
  val CutRows = "cutRows"
  val UnaskedRows = "unaskedRows"
  val CostlyRows = "costlyRows"
  val CostlyTokens = "costlyTokens"
  val Retries = "retries"
  val FailedRows = "failedRows"
  val CachedRows = "cachedRows"
  val OverBudgetRows = "overBudgetRows"
  val SkippedRows = "skippedRows"
  val EngineWait = "engineWait"
}
