package org.apache.spark.sql.llm

/**
 * Requests and tokens per minute of one endpoint, for all executors; on the driver, no Spark in it. A token bucket in
 * the form of its next free moment: whoever asks reserves its turn and is told how long to wait for it, so nobody has
 * to ask twice and nobody is overtaken.
 *
 * The bucket holds one second's worth: in no minute more than 1/60 over the limit is let through.
 *
 * @param nowNs monotonic clock
 */
class RateLimiter(nowNs: () => Long) {
  private var requestsFreeNs = Long.MinValue
  private var tokensFreeNs = Long.MinValue

  /** Seconds until so many requests with so many tokens may be sent; limits per minute. */
  def waitSeconds(requests: Long, tokens: Long, rpm: Option[Long], tpm: Option[Long]): Double = {
    val now = nowNs()
    val start = now - RateLimiter.BurstNs
    val turns = Seq(
      rpm.map { limit =>
        val turn = math.max(requestsFreeNs, start)
        requestsFreeNs = turn + RateLimiter.takesNs(requests, limit)
        turn
      },
      tpm.map { limit =>
        val turn = math.max(tokensFreeNs, start)
        tokensFreeNs = turn + RateLimiter.takesNs(tokens, limit)
        turn
      }).flatten
    turns.map(t => math.max(0L, t - now) / 1e9).maxOption.getOrElse(0.0)
  }
}

object RateLimiter {
  private val BurstNs = 1000000000L
  private val MinuteNs = 60e9

  private def takesNs(amount: Long, perMinute: Long): Long = math.round(MinuteNs * amount / perMinute)
}
