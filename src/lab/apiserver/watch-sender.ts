// How the lines of watches get to those who watch: what comes while a watcher waits for its turn leaves together, and watchers of the same
// things share the bytes of it.
//
// Not here: what the lines say (watch.ts), who watches the same things (watch-groups.ts).

import type { ServerResponse } from "node:http";

/**
 * Sends the lines of all watches, whoever waits longest first. What comes while a watcher waits for its turn leaves together, so that a
 * thousand watchers cost a few large writes each and not thousands of small ones. It works for a moment and rests for a moment: at once
 * when there is little to do, longer when sending takes long, so that other requests are answered in between.
 */
export interface WatchSender {
  /** A watcher that is `bytesBehindMax` behind is cut off. */
  open(response: ServerResponse, bytesBehindMax: number): Output;
  openFeed(): Feed;
}

/** Where a watch's lines go. */
export interface Output {
  /** A line for this watcher alone, behind all that it was given before. */
  write(line: Buffer): void;
  /** From now on it is given the lines of a feed as well. Once at most. */
  join(feed: Feed): void;
  /** Ends the answer behind what is waiting. */
  end(): void;
}

/** Lines for many watchers at once: a line costs what its sending costs, however many there are. */
export interface Feed {
  append(line: Buffer): void;
}

/** So long are others kept waiting. */
const workMs = 1;
/** Every watcher's turn comes within this time, as far as the machine can; where it can easily, half of the time is rest. */
const roundMs = 24;

/** A line, and the next one when there is one. */
interface Link {
  readonly line: Buffer | undefined;
  next: Link | undefined;
}

interface SharedLines extends Feed {
  last: Link;
  /** Those who have been sent all of it. */
  readonly idle: Set<Member>;
  /** What was sent last. */
  sent: { readonly from: Link; readonly to: Link; readonly batch: Batch } | undefined;
}

interface Member {
  readonly response: ServerResponse;
  readonly bytesBehindMax: number;
  /** Lines of its own that wait; they go before those of the feed. */
  own: Buffer[];
  feed: SharedLines | undefined;
  /** The last one of the feed that it needs no more. */
  at: Link | undefined;
  isWaiting: boolean;
}

/** `now`: milliseconds, to tell how long sending takes. */
export function createWatchSender(now: () => number = () => performance.now()): WatchSender {
  /** In the order of their turns. */
  const waiting = new Set<Member>();
  let isScheduled = false;
  let eachMs = 0;
  let restMs = 0;
  const send = (): void => {
    isScheduled = false;
    const began = now();
    let last: Batch | undefined;
    let [count, tookMs] = [0, 0];
    for (const member of waiting) {
      const { response, feed } = member;
      waiting.delete(member);
      member.isWaiting = false;
      if (isOver(response)) continue;
      if (feed !== undefined && member.own.length === 0) sendBatch(response, feedBatch(member, feed));
      else {
        const lines = taken(member);
        // Watchers of the same things have the same lines.
        last = last !== undefined && isSameList(last.lines, lines) ? last : { lines, bytes: joined(lines) };
        sendBatch(response, last);
      }
      feed?.idle.add(member);
      tookMs = now() - began;
      count++;
      if (tookMs >= workMs) break;
    }
    if (count > 0) eachMs += (tookMs / count - eachMs) / 8;
    const roundWorkMs = eachMs * (waiting.size + count);
    rest(Math.min(1, Math.max(0, roundMs / roundWorkMs - 1)) * tookMs);
  };
  /** Timers count whole milliseconds: less than one is put by for later. */
  const rest = (ms: number): void => {
    restMs += ms;
    const nowMs = restMs < 1 ? 0 : restMs;
    restMs -= nowMs;
    schedule(nowMs);
  };
  const schedule = (afterMs: number): void => {
    if (isScheduled || (waiting.size === 0 && afterMs < 1)) return;
    isScheduled = true;
    // What comes meanwhile waits for the end of the rest.
    if (afterMs < 1) setImmediate(send);
    else setTimeout(send, afterMs);
  };
  /** Gives a member its turn; false where it is over for it. */
  const enqueue = (member: Member): boolean => {
    if (member.isWaiting) return true;
    const { response, bytesBehindMax } = member;
    if (isOver(response)) return false;
    if (response.writableLength > bytesBehindMax) {
      response.destroy();
      return false;
    }
    member.isWaiting = true;
    waiting.add(member);
    schedule(0);
    return true;
  };
  return {
    open(response, bytesBehindMax) {
      const member: Member = { response, bytesBehindMax, own: [], feed: undefined, at: undefined, isWaiting: false };
      return {
        write(line) {
          if (isOver(response) || !enqueue(member)) return;
          member.feed?.idle.delete(member);
          member.own = taken(member);
          member.own.push(line);
        },
        join(feed) {
          member.feed = feed as SharedLines;
          member.at = member.feed.last;
          if (!member.isWaiting) member.feed.idle.add(member);
        },
        end() {
          const lines = taken(member);
          waiting.delete(member);
          member.feed?.idle.delete(member);
          response.end(lines.length === 0 ? undefined : joined(lines));
        },
      };
    },
    openFeed() {
      const feed: SharedLines = {
        last: { line: undefined, next: undefined },
        idle: new Set(),
        sent: undefined,
        append(line) {
          const link: Link = { line, next: undefined };
          feed.last.next = link;
          feed.last = link;
          // Who is over is forgotten with it.
          for (const member of feed.idle) enqueue(member);
          feed.idle.clear();
        },
      };
      return feed;
    },
  };
}

function isOver(response: ServerResponse): boolean {
  return response.writableEnded || response.destroyed;
}

/** All that waits for a member, which then is its to send. */
function taken(member: Member): Buffer[] {
  const { own, feed, at } = member;
  member.own = [];
  if (feed === undefined || at === undefined || at === feed.last) return own;
  member.at = feed.last;
  return [...own, ...linesAfter(at)];
}

/** The same for members of a feed without lines of their own: one for all that are equally far. */
function feedBatch(member: Member, feed: SharedLines): Batch {
  const { at: from = feed.last } = member;
  const to = feed.last;
  member.at = to;
  if (feed.sent?.from !== from || feed.sent.to !== to) {
    const lines = linesAfter(from);
    feed.sent = { from, to, batch: { lines, bytes: joined(lines) } };
  }
  return feed.sent.batch;
}

function linesAfter(link: Link): Buffer[] {
  const lines: Buffer[] = [];
  for (let { next } = link; next !== undefined; { next } = next) if (next.line !== undefined) lines.push(next.line);
  return lines;
}

interface Batch {
  readonly lines: readonly Buffer[];
  readonly bytes: Buffer;
  /** The same as a chunk of an answer (RFC 9112 7.1), made when it is first needed. */
  chunk?: Buffer;
}

/** Past the answer's own framing, so that the chunk is made once for all who get it, and is one write for each. */
function sendBatch(response: ServerResponse, batch: Batch): void {
  const { socket } = response;
  // HTTP/1.0 knows no chunks.
  const isChunked = response.headersSent && response.req.httpVersion === "1.1";
  if (socket === null || socket === undefined || !isChunked) {
    response.write(batch.bytes);
    return;
  }
  batch.chunk ??= Buffer.concat([
    Buffer.from(`${batch.bytes.length.toString(16)}\r\n`, "latin1"),
    batch.bytes,
    Buffer.from("\r\n", "latin1"),
  ]);
  socket.write(batch.chunk);
}

function isSameList(a: readonly Buffer[], b: readonly Buffer[]): boolean {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}

function joined(lines: readonly Buffer[]): Buffer {
  const [first] = lines;
  return lines.length === 1 && first !== undefined ? first : Buffer.concat(lines);
}
