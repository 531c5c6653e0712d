// Who is answered when more comes in than can be: everybody up to the same share. Only where batches come full one after another does
// anybody look at who sent what; before, a client may have all there is.
//
// How: what is taken is cut into windows of `windowDatagrams`. In each, a client gets `share` answers, as long as there are others; what is
// above is dropped unread, which costs a small part of an answer, so that the queue in front (which knows no clients) drains, and what
// others send finds room in it. The share halves with every window in which it was still too much.
// Not here: the socket (udp.ts).

/** Shares of one socket. */
export interface Shares {
  /** After each batch: was it full? */
  batch(isFull: boolean): void;
  /** Is the datagram of this client (its address as any number) to be answered? Only to be asked while `limited`. */
  takes(client: number): boolean;
  /** Did batches come full, one after another, so that shares count? */
  limited: boolean;
  /** Datagrams that were not answered. */
  dropped: number;
}

/** So many full batches in a row mean that more comes than is answered. */
const fullMax = 4;
const windowDatagrams = 1024;
const shareMax = 512;
const shareMin = 32;
/** Clients are told apart by a number below this: two of 4096 that have the same share one share. */
const buckets = 4096;

/** `salt`: any number that senders do not know. */
export function createShares(salt: number): Shares {
  const counts = new Uint16Array(buckets);
  let full = 0;
  let taken = 0;
  let clients = 0;
  /** Of the window before: in the first of a flood nobody is limited yet. */
  let clientsBefore = 0;
  let share = shareMax;
  const shares: Shares = {
    limited: false,
    dropped: 0,
    batch(isFull) {
      if (!isFull) {
        full = 0;
        if (!shares.limited) return;
        // The queue is empty.
        share = Math.min(shareMax, share * 2);
        if (share === shareMax) shares.limited = false;
        return;
      }
      if (++full >= fullMax) shares.limited = true;
    },
    takes(client) {
      if (taken++ === windowDatagrams) {
        if (full >= windowDatagrams / 64 && clients > 1) share = Math.max(shareMin, share >> 1);
        counts.fill(0);
        taken = 1;
        clientsBefore = clients;
        clients = 0;
      }
      const bucket = (Math.imul(client ^ salt, 0x9e3779b1) >>> 20) % buckets;
      const count = (counts[bucket] ?? 0) + 1;
      counts[bucket] = count;
      if (count === 1) clients++;
      if (count <= share || Math.max(clients, clientsBefore) < 2) return true;
      shares.dropped++;
      return false;
    },
  };
  return shares;
}
