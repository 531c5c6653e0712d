// Amounts of resources: quantities added up and written as upstream writes them (apimachinery api/resource Quantity.String).

import { exactQuantity, nano, type ExactQuantity } from "../../../kube/quantity.ts";

export type Amount = ExactQuantity;

export type Amounts = ReadonlyMap<string, Amount>;

/** `{ cpu: "100m" }` as amounts; what is no quantity is left out. */
export function amountsOf(list: Readonly<Record<string, string | number>> | undefined): Map<string, Amount> {
  const amounts = new Map<string, Amount>();
  for (const [name, text] of Object.entries(list ?? {})) {
    const amount = amountOf(text);
    if (amount !== undefined) amounts.set(name, amount);
  }
  return amounts;
}

/** Undefined where it is no quantity. */
export function amountOf(text: string | number): Amount | undefined {
  return exactQuantity(String(text), { exponentDigits: 2, tensMax: Number.POSITIVE_INFINITY });
}

/** A number of things. */
export function countOf(count: number): Amount {
  return { nanos: BigInt(count) * nano, isBinary: false };
}

/** The canonical text: no fraction, and the largest suffix that leaves none. */
export function amountText({ nanos, isBinary }: Amount): string {
  if (nanos === 0n) return "0";
  if (isBinary && nanos % nano === 0n) {
    let [value, at] = [nanos / nano, 0];
    while (value % 1024n === 0n && at < 6) {
      value /= 1024n;
      at++;
    }
    return `${value}${at === 0 ? "" : `${"KMGTPE"[at - 1]}i`}`;
  }
  const suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
  let [value, at] = [nanos, 0];
  while (value % 1000n === 0n && at < suffixes.length - 1) {
    value /= 1000n;
    at++;
  }
  return `${value}${suffixes[at]}`;
}

/** The sum; its form is that of the first that is there. */
export function added(...all: readonly Amounts[]): Map<string, Amount> {
  const sum = new Map<string, Amount>();
  for (const amounts of all)
    for (const [name, amount] of amounts) {
      const before = sum.get(name);
      sum.set(name, before === undefined ? amount : { nanos: before.nanos + amount.nanos, isBinary: before.isBinary });
    }
  return sum;
}

/** The greater of each. */
export function greatest(...all: readonly Amounts[]): Map<string, Amount> {
  const most = new Map<string, Amount>();
  for (const amounts of all)
    for (const [name, amount] of amounts) if ((most.get(name)?.nanos ?? -1n) < amount.nanos) most.set(name, amount);
  return most;
}
