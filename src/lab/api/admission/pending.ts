// Writes are made in one go, and some must wait for somebody's word first (webhooks). Such a write throws AdmissionPending, is made
// anew when the word is there, and finds it in its session.

import type { KubeObject } from "../../../kube/object.ts";

/** Thrown by a write that has to be tried again when `settled` is. `settled` never rejects. */
export class AdmissionPending extends Error {
  override readonly name = "AdmissionPending";
  readonly settled: Promise<void>;

  constructor(settled: Promise<void>) {
    super("the write waits for an admission webhook");
    this.settled = settled;
  }
}

/** What has been said of one write. */
export interface Hearing {
  /** What was there when it was asked about. */
  readonly previous: KubeObject | undefined;
  /** As it has been made by those who may change it; undefined until they have spoken. */
  mutated?: KubeObject;
  /** As it was shown to those who may refuse it. */
  shown?: KubeObject;
  /** Have they let it pass? */
  passed?: boolean;
  /** What it is refused with. */
  refusal?: unknown;
}

/** The memory of the tries of one request, or of one controller. */
export interface Session {
  readonly hearings: Map<string, Hearing>;
  /** How often the same name was asked for in this try (generateName). */
  readonly counts: Map<string, number>;
  /** Are all writes of a try undone when one of them has to wait? Then all of them are found again. */
  readonly replays: boolean;
}

export function createSession(replays: boolean): Session {
  return { hearings: new Map(), counts: new Map(), replays };
}

/** A chain of webhooks that change their minds about each other must end. */
const triesMax = 1000;

/** Tries writes until nobody has to be waited for. */
export async function whenSettled<T>(session: Session, writes: () => T): Promise<T> {
  for (let tries = 0; ; tries++) {
    session.counts.clear();
    try {
      return writes();
    } catch (error) {
      if (!(error instanceof AdmissionPending) || tries >= triesMax) throw error;
      await error.settled;
    }
  }
}
