// Which of the nodes before us still answer for addresses, judged by what they answer to probes: a function of probes and answers told in
// order, with the clock as a parameter. What makes an address move within two seconds without asking an API server.
//
// Two questions go to each node every half second. Its kernel answers the first (who has the node's address?): silence means that node, link
// or wire is gone, and its addresses are taken. Its agent answers the second (do you answer for this load balancer's address?), and is
// given longer: an agent that is being replaced leaves connections as they are. A node that was given up counts again when its agent
// answers, for before that nobody there would.
//
// Not here: packets (layer2-port.ts), who is before us (model/layer2.ts).

/** How often each node is asked. */
export const probeEveryMs = 500;
/** Silence of the node for so long, and as many questions as fit into it. */
const nodeSilence = { ms: 1500, probes: 3 };
/** Silence of its agent alone. */
const agentSilence = { ms: 10_000, probes: 15 };

export interface Peers {
  /** These are to be judged from now on, and no others; new ones count as there until they have been silent for long enough. */
  watch(names: ReadonlySet<string>, nowMs: number): void;
  probed(name: string, kind: Answerer): void;
  heard(name: string, kind: Answerer, nowMs: number): void;
  /** Judges; gives the names whose state is another one than before. */
  judge(nowMs: number): readonly string[];
  /** True for names that nobody watches. */
  isThere(name: string): boolean;
  /** Was the last question to its node for nothing, as far as is known? */
  isSilent(name: string): boolean;
  /** Nothing was heard because our own link carried nothing: all are given time anew. */
  restart(nowMs: number): void;
}

/** Who answers: the node's kernel, or its agent. */
export type Answerer = "node" | "agent";

interface Peer {
  isThere: boolean;
  /** Has its agent answered since it was given up? */
  isBack: boolean;
  readonly silent: Record<Answerer, { sinceMs: number; probes: number }>;
}

export function createPeers(): Peers {
  const peers = new Map<string, Peer>();
  const isGone = ({ silent: { node, agent } }: Peer, nowMs: number): boolean =>
    // Probes, too: a process that was held up has asked nothing, and what it has not asked nobody answered.
    (nowMs - node.sinceMs >= nodeSilence.ms && node.probes >= nodeSilence.probes) ||
    (nowMs - agent.sinceMs >= agentSilence.ms && agent.probes >= agentSilence.probes);
  const newPeer = (nowMs: number): Peer => ({
    isThere: true,
    isBack: false,
    silent: { node: { sinceMs: nowMs, probes: 0 }, agent: { sinceMs: nowMs, probes: 0 } },
  });
  return {
    watch(names, nowMs) {
      for (const name of peers.keys()) if (!names.has(name)) peers.delete(name);
      for (const name of names) if (!peers.has(name)) peers.set(name, newPeer(nowMs));
    },
    probed(name, kind) {
      const peer = peers.get(name);
      if (peer !== undefined) peer.silent[kind].probes++;
    },
    heard(name, kind, nowMs) {
      const peer = peers.get(name);
      if (peer === undefined) return;
      Object.assign(peer.silent[kind], { sinceMs: nowMs, probes: 0 });
      // An agent that answers is on a node that is there.
      if (kind === "node") return;
      Object.assign(peer.silent.node, { sinceMs: nowMs, probes: 0 });
      peer.isBack = true;
    },
    judge(nowMs) {
      const changed: string[] = [];
      for (const [name, peer] of peers) {
        const now = !isGone(peer, nowMs) && (peer.isThere || peer.isBack);
        if (now === peer.isThere) continue;
        peer.isThere = now;
        peer.isBack = false;
        changed.push(name);
      }
      return changed;
    },
    isThere: (name) => peers.get(name)?.isThere ?? true,
    isSilent: (name) => (peers.get(name)?.silent.node.probes ?? 0) > 0,
    restart(nowMs) {
      for (const [name] of peers) peers.set(name, newPeer(nowMs));
    },
  };
}
