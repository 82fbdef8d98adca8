package org.apache.spark.sql.llm

import org.apache.spark.{SparkContext, SparkEnv}
import org.apache.spark.rpc._
import org.apache.spark.scheduler.{SparkListener, SparkListenerTaskEnd}
import org.apache.spark.util.RpcUtils

/**
 * The application's one place for what executors have to agree on: budgets, limits per minute, failures of a call.
 * {{{
 *   Python worker --WorkerPort--\                                   / BudgetLedger   a query
 *   LLMEvalPartition -----------> ask -> RpcEndpoint on the driver -- RateLimiter    an endpoint
 *                                        (CoordinatorState)         \ FailureCounts  a call
 * }}}
 * Opened by the first query that needs it, not by the plug-in, which a live session may not have. Messages are JSON in
 * plain strings: no class of this jar has to be known to Spark's own class loader.
 */
object Coordinator {
  private val Name = "spark-llm"

  private var opened: Option[(RpcEnv, CoordinatorState)] = None
  @volatile private var driver: Option[(RpcEnv, RpcEndpointRef)] = None

  /** Driver only. */
  def open(sc: SparkContext): Unit = synchronized {
    val env = SparkEnv.get.rpcEnv
    if (!opened.exists(_._1 eq env)) {
      val state = new CoordinatorState(() => System.nanoTime(), FittedRouters.put)
      try {
        env.setupEndpoint(Name, new Endpoint(env, state))
        sc.addSparkListener(new TaskEnds(state))
        opened = Some(env -> state)
      } catch {
        // another class loader's copy of this object was first, and it speaks the same language
        case _: IllegalArgumentException => opened = Some(env -> state)
      }
    }
  }

  /** The driver's answer; from any executor, or the driver itself. */
  def ask(message: String): String = {
    val env = SparkEnv.get
    val ref = driver.filter(_._1 eq env.rpcEnv).map(_._2).getOrElse {
      val made = RpcUtils.makeDriverRef(Name, env.conf, env.rpcEnv)
      driver = Some(env.rpcEnv -> made)
      made
    }
    ref.askSync[String](message)
  }

  /** What a query has spent of its budget, in words. Driver only. */
  def spent(query: String): Option[String] = synchronized(opened).flatMap(_._2.spent(query))

  /** What a query's pilot has found for a call. Driver only. */
  def found(query: String, call: String): Option[String] = synchronized(opened).flatMap(_._2.found(query, call))

  private class Endpoint(override val rpcEnv: RpcEnv, state: CoordinatorState) extends ThreadSafeRpcEndpoint {
    override def receiveAndReply(context: RpcCallContext): PartialFunction[Any, Unit] = {
      case message: String => context.reply(state.answer(message))
    }
  }

  private class TaskEnds(state: CoordinatorState) extends SparkListener {
    override def onTaskEnd(end: SparkListenerTaskEnd): Unit = state.end(end.taskInfo.taskId)
  }
}
