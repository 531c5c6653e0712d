// The Common Expression Language as data: what an expression is once it has been read, and where something is wrong with it.
// Macros (`all`, `map`, `has` …) are read as what they mean; the rest is calls, selections and literals.
//
// Not here: reading (parse.ts), types (check.ts), values (evaluate.ts).

/** An expression. `at` is the offset in the source, in code points, of the part that cel-go names in its errors. */
export type Expression = { readonly at: number } & (
  | { readonly kind: "literal"; readonly value: Literal }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "select"; readonly of: Expression; readonly field: string; readonly optional: boolean }
  | { readonly kind: "has"; readonly of: Expression; readonly field: string }
  | {
      readonly kind: "call";
      readonly function: string;
      readonly receiver: Expression | undefined;
      readonly args: readonly Expression[];
    }
  | {
      readonly kind: "list";
      readonly elements: readonly { readonly value: Expression; readonly optional: boolean }[];
    }
  | {
      readonly kind: "map";
      readonly entries: readonly { readonly key: Expression; readonly value: Expression; readonly optional: boolean }[];
    }
  | {
      readonly kind: "message";
      readonly type: string;
      readonly fields: readonly { readonly name: string; readonly value: Expression; readonly optional: boolean }[];
    }
  | {
      readonly kind: "fold";
      readonly macro: Fold;
      readonly range: Expression;
      /** Of each element: itself (of maps: the key), or its index (key) and itself. */
      readonly variables: readonly string[];
      /** Which elements; all where undefined. For quantifiers: the condition. */
      readonly filter: Expression | undefined;
      /** What becomes of an element; itself where undefined. */
      readonly result: Expression | undefined;
    }
  | {
      /** `x.optMap(v, …)`, `x.optFlatMap(v, …)` */
      readonly kind: "optMap";
      readonly of: Expression;
      readonly variable: string;
      readonly result: Expression;
      readonly flat: boolean;
    }
);

export type Fold = "all" | "exists" | "existsOne" | "map" | "filter" | "transformMap" | "transformMapEntry" | "sortBy";

export type Literal =
  | { readonly type: "int"; readonly value: bigint }
  | { readonly type: "uint"; readonly value: bigint }
  | { readonly type: "double"; readonly value: number }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "bytes"; readonly value: Uint8Array }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "null" };

/** Something wrong with an expression, at an offset of its source in code points. */
export interface Issue {
  readonly at: number;
  readonly message: string;
}

/** Thrown where an expression cannot be read or has no type. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
  readonly issues: readonly Issue[];

  constructor(source: string, issues: readonly Issue[]) {
    super(issuesText(source, issues));
    this.issues = issues;
  }
}

/** `ERROR: <input>:1:5: undefined field 'x'`, the line, and an arrow below it, as cel-go's common.Error writes it. */
export function issuesText(source: string, issues: readonly Issue[]): string {
  const points = Array.from(source);
  return [...issues]
    .sort((a, b) => a.at - b.at)
    .map(({ at, message }) => {
      let line = 1;
      let start = 0;
      for (let i = 0; i < at && i < points.length; i++)
        if (points[i] === "\n") {
          line++;
          start = i + 1;
        }
      const column = at - start;
      const end = points.indexOf("\n", start);
      const text = points.slice(start, end < 0 ? undefined : end).join("");
      return `ERROR: <input>:${line}:${column + 1}: ${message}\n | ${text.replaceAll("\t", " ")}\n | ${".".repeat(column)}^`;
    })
    .join("\n");
}
