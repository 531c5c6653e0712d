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
