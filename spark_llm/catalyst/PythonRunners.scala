package org.apache.spark.sql.llm

import org.apache.spark.api.python.{ChainedPythonFunctions, PythonEvalType, SimplePythonFunction}
import org.apache.spark.sql.execution.python.ArrowPythonRunner
import org.apache.spark.sql.types.{StructField, StructType}

/** The one place that depends on the Spark minor version: optional trailing parameters of the runner differ. */
object PythonRunners {
  private lazy val constructor = classOf[ArrowPythonRunner].getConstructors.head

  def create(job: LLMEvalJob, function: SimplePythonFunction): ArrowPythonRunner = {
    val functions: Seq[(ChainedPythonFunctions, Long)] = Seq((ChainedPythonFunctions(Seq(function)), job.resultId))
    val fixed: Seq[AnyRef] = Seq(
      functions, Int.box(PythonEvalType.SQL_MAP_ARROW_ITER_UDF), Array(Array(0)),
      StructType(Array(StructField("struct", job.argumentSchema))), job.timeZone, Boolean.box(job.largeVarTypes),
      job.runnerConf, job.pythonMetrics, job.artifact)
    val optional = Seq.fill(constructor.getParameterCount - fixed.size)(None)
    constructor.newInstance(fixed ++ optional: _*).asInstanceOf[ArrowPythonRunner]
  }
}
