import { test } from "node:test";
import assert from "node:assert/strict";
import { createFakeClock } from "../controllers/clock.testing.ts";
import { afterCheck, initialProbeState, startProbing, type CheckResult, type ProbeState } from "./probes.ts";

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("thresholds: so many in a row change the verdict, a single other result does not", () => {
  const probe = { successThreshold: 2, failureThreshold: 3 };
  const verdicts = (results: string): string => {
    let state: ProbeState = initialProbeState;
    return results
      .split("")
      .map((letter) => (state = afterCheck(state, letter === "+", probe)).verdict[0])
      .join("");
  };
  assert.equal(verdicts("+++---++"), "ussssffs");
  assert.equal(verdicts("-+-+-+"), "uuuuuu");
});

test("looks after the initial delay, then every period; a late answer is a failure", async () => {
  const clock = createFakeClock();
  let looks = 0;
  const verdicts: string[] = [];
  const failures: string[] = [];
  let answer: () => Promise<CheckResult> = () => Promise.resolve({ ok: true });
  const prober = startProbing({
    probe: { initialDelaySeconds: 5, periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 2 },
    clock,
    check: () => {
      looks++;
      return answer();
    },
    verdict: (verdict) => verdicts.push(verdict),
    failed: (message) => failures.push(message),
  });
  const pass = async (seconds: number): Promise<void> => {
    clock.advance(seconds * 1000);
    await settled();
  };
  await pass(4);
  assert.equal(looks, 0);
  await pass(1);
  assert.deepEqual([looks, verdicts], [1, ["success"]]);
  await pass(10);
  assert.deepEqual([looks, verdicts], [2, ["success"]]);
  answer = () => new Promise(() => {});
  await pass(10);
  await pass(2);
  assert.deepEqual(failures, ["context deadline exceeded (timeout of 2s)"]);
  assert.deepEqual(verdicts, ["success"]);
  answer = () => Promise.reject(new Error("no way"));
  await pass(8);
  assert.deepEqual([looks, verdicts, failures.at(-1)], [4, ["success", "failure"], "no way"]);
  prober.stop();
  await pass(100);
  assert.equal(looks, 4);
  assert.equal(clock.pending, 0);
});
