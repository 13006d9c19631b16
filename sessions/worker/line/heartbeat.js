/**
 * @file The heartbeat: that the event loop still turns, how late it was at worst, and what the
 *   process weighs.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * A timer as fine as the default 10 ms would wake thousands of idle workers a hundred times a
 * second each.
 */
const RESOLUTION_MS = 250;
const NANOSECONDS_PER_MS = 1e6;

/**
 * @param {number} intervalMs
 * @param {(beat: import('../wire.js').Beat) => void} report
 */
export function startHeartbeat(intervalMs, report) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const beat = () => {
    const { rss, heapUsed } = process.memoryUsage();
    const lagMs = Math.max(0, delay.max / NANOSECONDS_PER_MS - RESOLUTION_MS);
    delay.reset();
    report({
      type: 'beat',
      lag_ms: Math.round(lagMs * 10) / 10,
      rss_bytes: rss,
      heap_bytes: heapUsed,
    });
  };
  setInterval(beat, intervalMs).unref();
}
