// Quantities: `100m`, `1.5Gi`, `2e3`, 4 (apimachinery api/resource).

/** The value as a number, for comparing; undefined where the text is no quantity. Exact enough for anything a lab is asked to compare. */
export function parseQuantity(quantity: string | number): number | undefined {
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?$/.exec(
    String(quantity),
  );
  if (match?.[1] === undefined) return undefined;
  const suffix = match[2] ?? "";
  const scale = scales.get(suffix);
  if (scale !== undefined) return Number(match[1]) * scale;
  return Number(match[1] + suffix);
}

const scales: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["n", 1e-9],
  ["u", 1e-6],
  ["m", 1e-3],
  ["k", 1e3],
  ["M", 1e6],
  ["G", 1e9],
  ["T", 1e12],
  ["P", 1e15],
  ["E", 1e18],
  ["Ki", 2 ** 10],
  ["Mi", 2 ** 20],
  ["Gi", 2 ** 30],
  ["Ti", 2 ** 40],
  ["Pi", 2 ** 50],
  ["Ei", 2 ** 60],
]);

/** An exact quantity in billionths, and whether it is counted in powers of two. */
export interface ExactQuantity {
  readonly nanos: bigint;
  readonly isBinary: boolean;
}

/**
 * The exact value, rounded up to billionths as apimachinery's resource.Quantity does; undefined where the text is no quantity, or has an
 * exponent of more than `exponentDigits` digits, or more than `tensMax` decimal places before or behind the point: it would be long work.
 */
export function exactQuantity(
  text: string,
  { exponentDigits, tensMax }: { readonly exponentDigits: number; readonly tensMax: number },
): ExactQuantity | undefined {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:([KMGTPE])i|([numkMGTPE])|[eE]([+-]?)(\d+))?$/.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = "", fraction = "", binary, decimal, powerSign = "", power = ""] = match;
  if (whole === "" && fraction === "") return undefined;
  if (power.length > exponentDigits) return undefined;
  const tens = Number(`${powerSign}${power}`) - fraction.length;
  if (Math.abs(tens) > tensMax) return undefined;
  const scale =
    binary !== undefined
      ? nano << BigInt(10 * ("KMGTPE".indexOf(binary) + 1))
      : decimal === undefined
        ? nano
        : (decimalNanos[decimal] ?? nano);
  const product = BigInt(`${whole}${fraction}`) * scale;
  const nanos =
    tens >= 0 ? product * 10n ** BigInt(tens) : (product + 10n ** BigInt(-tens) - 1n) / 10n ** BigInt(-tens);
  return { nanos: sign === "-" ? -nanos : nanos, isBinary: binary !== undefined };
}

/** One, in billionths. */
export const nano = 1_000_000_000n;
const decimalNanos: { readonly [suffix: string]: bigint | undefined } = {
  n: 1n,
  u: 1_000n,
  m: 1_000_000n,
  k: nano * 10n ** 3n,
  M: nano * 10n ** 6n,
  G: nano * 10n ** 9n,
  T: nano * 10n ** 12n,
  P: nano * 10n ** 15n,
  E: nano * 10n ** 18n,
};
