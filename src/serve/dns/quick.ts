// Answers that are kept as bytes, given to a batch of datagrams and counted.
//
// Not here: the socket (kernel/udp.ts), what is kept (answers.ts).

import type { QuickAnswers } from "../../kernel/udp.ts";
import type { AnswerReader } from "./answer-table.ts";
import type { Tally } from "./tally.ts";

export function quickAnswers(parts: {
  readonly reader: AnswerReader;
  readonly clock: { now(): number };
  readonly tally: Tally;
  /** Before a batch, and behind it. */
  readonly begin: () => void;
  readonly end?: () => void;
}): QuickAnswers {
  const { reader, clock, tally, begin, end } = parts;
  let began = 0;
  let count = 0;
  return {
    begin() {
      begin();
      began = clock.now();
      count = 0;
    },
    answer(bytes, at, length, room, family) {
      const size = reader.read(bytes, at, length, room, 0);
      if (size === 0) return 0;
      count++;
      tally.count(family, reader, length, size);
      return size;
    },
    end() {
      tally.took(count, clock.now() - began);
      end?.();
    },
  };
}
