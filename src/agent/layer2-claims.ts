// Taking an address over without two who answer for it: whoever wants one asks the link first, waits while another still answers, and takes it
// once nobody does. A function of what is wanted and heard, told in order, with the clock as a parameter.
//
// - The holder lets go when it sees that another is to have the address; until then the new one waits. Two nodes may learn that at
//   different times, from an API server that is near for the one and far for the other.
// - Who waits for too long (the holder follows an API server that is gone) says that it has the address, and whoever hears that of an
//   address it holds lets go. It asks again like anybody else, and waits longer each time, so that two who will not agree take turns by the
//   minute and not by the second.
// - Of two who said so at the same moment the one with the lower hardware address keeps it.
//
// Invariant: nobody is told of an address that is not held.
// Not here: packets (layer2-port.ts), whose turn it is (layer2.ts), when a node counts as gone (layer2-peers.ts).

import type { Address } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";

/** So often the link is asked, and so long nobody may have answered, with so many questions in that time. */
export const askEveryMs = 50;
const silence = { ms: 400, questions: 3 };
/** Who still answers after so long is told to let go; then twice as long each time. */
const patienceMs = { first: 2000, most: 60_000 };
/** What came here is told at once, and again so much later: others may not have let go of it yet, or a switch not be open. */
const againMs = [500, 1000, 2000, 4000];
/** Who took an address so lately may have done so at the same moment as another. */
const sameMomentMs = 300;
/** Who was held up for so long has not waited meanwhile. */
const missedMs = 200;
/** At most so many questions at a time, who has waited longest first: a holder answers a thousand a second. */
const questionsMax = 40;

export interface Claims {
  /** It is this node's turn. `at once`: whoever held it is known to be gone. Changes nothing for an address that is held. */
  want(address: Address, how: "ask" | "at once", nowMs: number): void;
  /** It is not this node's turn (any more). */
  drop(address: Address): void;
  isHeld(address: Address): boolean;
  held(): readonly Address[];
  isAsking(): boolean;
  /** Another station answers for the address. */
  answered(address: Address, nowMs: number): void;
  /** Another station says that it has the address now: true where this one had it and has let go. */
  announced(address: Address, others: Mac, own: Mac, nowMs: number): boolean;
  /** Takes what nobody answers for: to be called when all that has arrived is told, and every `askEveryMs` while it asks. */
  settle(nowMs: number): void;
  /** Others may not have heard it: all that is held is told again, after a while and a few times more. */
  tellAgain(nowMs: number): void;
  /** What is to be asked about now; what all of the link is to be told now; of that, what has come to be held since the last call. */
  next(nowMs: number): {
    readonly ask: readonly Address[];
    readonly tell: readonly Address[];
    readonly taken: readonly Address[];
  };
  /** This node was away, and others may have taken what it held: it asks for everything anew. */
  restart(nowMs: number): void;
}

interface Asking {
  state: "asking";
  /** Nobody has answered since. */
  silentSinceMs: number;
  questions: number;
  askedMs: number;
  settledMs: number;
  /** When it is enough. */
  untilMs: number;
  patienceMs: number;
}

interface Held {
  state: "held";
  sinceMs: number;
  patienceMs: number;
  /** When it is to be told, the next time first. */
  tellMs: readonly number[];
  isTold: boolean;
}

export function createClaims(): Claims {
  const claims = new Map<Address, Asking | Held>();
  const ask = (address: Address, nowMs: number, patience: number): void => {
    const untilMs = nowMs + patience;
    const asked = { silentSinceMs: nowMs, questions: 0, askedMs: -Infinity, settledMs: nowMs };
    claims.set(address, { state: "asking", ...asked, untilMs, patienceMs: patience });
  };
  const hold = (address: Address, nowMs: number, patience: number): void => {
    const tellMs = [nowMs, ...againAfter(nowMs)];
    claims.set(address, { state: "held", sinceMs: nowMs, patienceMs: patience, tellMs, isTold: false });
  };
  return {
    want(address, how, nowMs) {
      const claim = claims.get(address);
      if (claim?.state === "held") return;
      if (how === "at once") hold(address, nowMs, patienceMs.first);
      else if (claim === undefined) ask(address, nowMs, patienceMs.first);
    },
    drop: (address) => void claims.delete(address),
    isHeld: (address) => claims.get(address)?.state === "held",
    held: () => [...claims].flatMap(([address, { state }]) => (state === "held" ? [address] : [])),
    isAsking: () => [...claims.values()].some(({ state }) => state === "asking"),
    answered(address, nowMs) {
      const claim = claims.get(address);
      if (claim?.state !== "asking") return;
      claim.silentSinceMs = nowMs;
      claim.questions = 0;
    },
    announced(address, others, own, nowMs) {
      const claim = claims.get(address);
      if (claim === undefined) return false;
      if (claim.state === "asking") {
        claim.silentSinceMs = nowMs;
        claim.questions = 0;
        return false;
      }
      if (nowMs - claim.sinceMs < sameMomentMs && own < others) {
        // For the other to hear.
        claim.tellMs = [nowMs, ...claim.tellMs];
        return false;
      }
      ask(address, nowMs, Math.min(2 * claim.patienceMs, patienceMs.most));
      return true;
    },
    settle(nowMs) {
      for (const [address, claim] of claims) {
        if (claim.state === "held") continue;
        const sinceMs = nowMs - claim.settledMs;
        claim.settledMs = nowMs;
        if (sinceMs >= missedMs) claim.untilMs += sinceMs;
        const isSilent = nowMs - claim.silentSinceMs >= silence.ms && claim.questions >= silence.questions;
        if (!isSilent && nowMs < claim.untilMs) continue;
        // One that nobody answers for has not been fought about.
        hold(address, nowMs, isSilent ? patienceMs.first : claim.patienceMs);
      }
    },
    tellAgain(nowMs) {
      for (const claim of claims.values()) if (claim.state === "held") claim.tellMs = againAfter(nowMs);
    },
    next(nowMs) {
      const due = [...claims]
        .flatMap(([address, claim]) =>
          claim.state === "asking" && nowMs - claim.askedMs >= askEveryMs ? [{ address, claim }] : [],
        )
        .sort((a, b) => a.claim.askedMs - b.claim.askedMs)
        .slice(0, questionsMax);
      for (const { claim } of due) {
        claim.askedMs = nowMs;
        claim.questions++;
      }
      const tell: Address[] = [];
      const taken: Address[] = [];
      for (const [address, claim] of claims) {
        if (claim.state === "asking" || (claim.tellMs[0] ?? Infinity) > nowMs) continue;
        tell.push(address);
        if (!claim.isTold) taken.push(address);
        claim.isTold = true;
        claim.tellMs = claim.tellMs.filter((each) => each > nowMs);
      }
      return { ask: due.map(({ address }) => address), tell, taken };
    },
    restart(nowMs) {
      for (const [address, claim] of claims) if (claim.state === "held") ask(address, nowMs, patienceMs.first);
    },
  };
}

function againAfter(nowMs: number): readonly number[] {
  return againMs.map((delayMs) => nowMs + delayMs);
}
