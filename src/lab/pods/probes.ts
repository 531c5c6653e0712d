// Probes: when to look at a container, and what so many good or bad looks mean. The looking itself is a parameter (checks.ts).
// Semantics follow pkg/kubelet/prober: the startup probe holds back the other two; readiness starts as "no", liveness and startup as
// "not yet known"; `threshold` results in a row change the verdict.

import type { Probe } from "../../kube/kinds.ts";
import type { Clock } from "../../watch/clock.ts";

export type ProbeKind = "startup" | "liveness" | "readiness";

/** What one look said. `message` is for the Event. */
export type CheckResult = { readonly ok: true } | { readonly ok: false; readonly message: string };

/** What the results so far mean. */
export interface ProbeState {
  readonly verdict: "unknown" | "success" | "failure";
  /** How many results of the last kind came in a row. */
  readonly run: number;
  readonly last?: boolean;
}

export const initialProbeState: ProbeState = { verdict: "unknown", run: 0 };

/** The state after one more result. Pure. */
export function afterCheck(state: ProbeState, ok: boolean, probe: Probe): ProbeState {
  const run = state.last === ok ? state.run + 1 : 1;
  const threshold = ok ? (probe.successThreshold ?? 1) : (probe.failureThreshold ?? 3);
  return { run, last: ok, verdict: run >= threshold ? (ok ? "success" : "failure") : state.verdict };
}

/** Looks again and again until stopped. */
export interface Prober {
  stop(): void;
}

/** Starts looking `initialDelaySeconds` after now. `verdict` is told each change; after a failed startup or liveness the caller restarts the container. */
export function startProbing(options: {
  readonly probe: Probe;
  readonly clock: Clock;
  /** May reject: that counts as a failure. */
  readonly check: (signal: AbortSignal) => Promise<CheckResult>;
  readonly verdict: (verdict: "success" | "failure", result: CheckResult) => void;
  /** Every failed look, for Events. */
  readonly failed: (message: string) => void;
}): Prober {
  const { probe, clock } = options;
  const periodMs = (probe.periodSeconds ?? 10) * 1000;
  const stopped = new AbortController();
  let state = initialProbeState;
  let timer: { cancel(): void } | undefined;

  const look = async (): Promise<void> => {
    const result = await checkOnce(options.check, (probe.timeoutSeconds ?? 1) * 1000, clock, stopped.signal);
    if (stopped.signal.aborted) return;
    const before = state.verdict;
    state = afterCheck(state, result.ok, probe);
    if (!result.ok) options.failed(result.message);
    if (state.verdict !== before && state.verdict !== "unknown") options.verdict(state.verdict, result);
  };
  const schedule = (delayMs: number): void => {
    timer = clock.after(delayMs, () => {
      const due = clock.now() + periodMs;
      void look().finally(() => {
        if (!stopped.signal.aborted) schedule(Math.max(0, due - clock.now()));
      });
    });
  };
  schedule((probe.initialDelaySeconds ?? 0) * 1000);
  return {
    stop() {
      stopped.abort();
      timer?.cancel();
    },
  };
}

async function checkOnce(
  check: (signal: AbortSignal) => Promise<CheckResult>,
  timeoutMs: number,
  clock: Clock,
  stopped: AbortSignal,
): Promise<CheckResult> {
  const over = new AbortController();
  const stop = (): void => over.abort();
  stopped.addEventListener("abort", stop);
  let timer: { cancel(): void } | undefined;
  const late = new Promise<CheckResult>((resolve) => {
    timer = clock.after(timeoutMs, () => {
      resolve({ ok: false, message: `context deadline exceeded (timeout of ${timeoutMs / 1000}s)` });
      over.abort();
    });
  });
  try {
    return await Promise.race([check(over.signal), late]);
  } catch (error) {
    return { ok: false, message: (error as Error).message };
  } finally {
    timer?.cancel();
    stopped.removeEventListener("abort", stop);
    over.abort();
  }
}
