// Reads an expression: operators by precedence, then members, then primaries; macros become folds (cel-spec doc/langdef.md).
// Offsets are those that cel-go gives: an operator's, a member's dot, a call's parenthesis.
//
// Not here: whether names and types fit (check.ts).

import { ExpressionError, type Expression, type Fold } from "./syntax.ts";
import { tokensOf, type Token } from "./tokens.ts";

/** Deep nesting would need as deep a stack. cel-go refuses at 250. */
const depthMax = 250;

/** The expression of a source. Throws ExpressionError. */
export function parseExpression(source: string): Expression {
  const reader = createReader(source, tokensOf(source));
  const expression = reader.expression();
  reader.end();
  return expression;
}

const reserved = new Set(
  "as break const continue else for function if import let loop package namespace return var void while".split(" "),
);

/** What cel-go's grammar could go on with where an operand is missing. */
const operandWords =
  "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

const binaryLevels: readonly (readonly string[])[] = [
  ["||"],
  ["&&"],
  ["<", "<=", ">=", ">", "==", "!=", "in"],
  ["+", "-"],
  ["*", "/", "%"],
];

/** Functions of operators, as cel-go names them. */
const operatorNames: { readonly [symbol: string]: string } = {
  "||": "_||_",
  "&&": "_&&_",
  "==": "_==_",
  "!=": "_!=_",
  "<": "_<_",
  "<=": "_<=_",
  ">": "_>_",
  ">=": "_>=_",
  in: "@in",
  "+": "_+_",
  "-": "_-_",
  "*": "_*_",
  "/": "_/_",
  "%": "_%_",
};

interface Reader {
  expression(): Expression;
  end(): void;
}

function createReader(source: string, tokens: readonly Token[]): Reader {
  let position = 0;
  let depth = 0;
  const peek = (): Token => tokens[position] ?? { kind: "end", text: "<EOF>", at: 0 };
  const next = (): Token => {
    const token = peek();
    position++;
    return token;
  };
  const is = (text: string): boolean => peek().kind === "symbol" && peek().text === text;
  const fail = (at: number, message: string): never => {
    throw new ExpressionError(source, [{ at, message }]);
  };
  const expect = (text: string): Token => {
    if (is(text)) return next();
    const { at, text: found } = peek();
    return fail(at, `Syntax error: mismatched input '${found}' expecting '${text}'`);
  };
  const unexpected = (): never => {
    const { at, text, kind } = peek();
    return fail(
      at,
      kind === "end"
        ? `Syntax error: mismatched input '<EOF>' expecting ${operandWords}`
        : `Syntax error: extraneous input '${text}' expecting ${operandWords}`,
    );
  };

  const deeper = <T>(read: () => T): T => {
    if (++depth > depthMax) fail(peek().at, `expression recursion limit exceeded: ${depthMax}`);
    const result = read();
    depth--;
    return result;
  };

  const expression = (): Expression => deeper(ternary);

  function ternary(): Expression {
    const condition = binary(0);
    if (!is("?")) return condition;
    const { at } = next();
    const yes = binary(0);
    expect(":");
    const no = expression();
    return call(at, "_?_:_", [condition, yes, no]);
  }

  function binary(level: number): Expression {
    const operators = binaryLevels[level];
    if (operators === undefined) return unary();
    let left = binary(level + 1);
    // A long chain is no deep one.
    while (peek().kind === "symbol" && operators.includes(peek().text)) {
      const { text, at } = next();
      left = call(at, operatorNames[text] ?? text, [left, binary(level + 1)]);
    }
    return left;
  }

  function unary(): Expression {
    const { at } = peek();
    for (const [symbol, name] of [
      ["!", "!_"],
      ["-", "-_"],
    ] as const) {
      if (!is(symbol)) continue;
      let count = 0;
      while (is(symbol)) {
        next();
        count++;
      }
      const literal = peek();
      // The smallest integer is one literal, not minus the largest.
      if (symbol === "-" && count % 2 === 1 && literal.kind === "literal") {
        const value = literal.value;
        if (value?.type === "int" || value?.type === "double") {
          next();
          return member({
            kind: "literal",
            at,
            value:
              value.type === "int" ? { type: "int", value: -value.value } : { type: "double", value: -value.value },
          });
        }
      }
      const operand = deeper(() => member(primary()));
      return count % 2 === 0 ? operand : call(at, name, [operand]);
    }
    return member(primary());
  }

  function member(start: Expression): Expression {
    let left = start;
    for (;;) {
      if (is(".")) {
        const { at } = next();
        const optional = is("?");
        if (optional) next();
        const name = next();
        if (name.kind !== "name" && !(name.kind === "symbol" && name.text === "in")) {
          position--;
          fail(name.at, `Syntax error: no viable alternative at input '.${name.kind === "end" ? "" : name.text}'`);
        }
        if (is("(") && !optional) {
          const open = next().at;
          left = memberCall(open, name.text, left, args(")"));
        } else if (is("{") && !optional && typeName(left) !== undefined && /^[A-Z]/.test(typeName(left) ?? ""))
          left = message(`${typeName(left)}.${name.text}`);
        else left = { kind: "select", at, of: left, field: name.text, optional };
      } else if (is("[")) {
        const { at } = next();
        const optional = is("?");
        if (optional) next();
        const index = expression();
        expect("]");
        left = call(at, optional ? "_[?_]" : "_[_]", [left, index]);
      } else return left;
    }
  }

  function message(type: string): Expression {
    const { at } = expect("{");
    const fields: { name: string; value: Expression; optional: boolean }[] = [];
    while (!is("}")) {
      const optional = is("?");
      if (optional) next();
      const name = next();
      if (name.kind !== "name") fail(name.at, `Syntax error: extraneous input '${name.text}' expecting IDENTIFIER`);
      expect(":");
      fields.push({ name: name.text, value: expression(), optional });
      if (!is(",")) break;
      next();
    }
    expect("}");
    return { kind: "message", at, type, fields };
  }

  function args(closing: string): Expression[] {
    const list: Expression[] = [];
    while (!is(closing)) {
      list.push(expression());
      if (!is(",")) break;
      next();
      if (is(closing) && closing === ")") unexpected();
    }
    expect(closing);
    return list;
  }

  function primary(): Expression {
    const token = peek();
    const { at } = token;
    if (token.kind === "literal" && token.value !== undefined) {
      next();
      if (token.value.type === "int" && token.value.value === 2n ** 63n) fail(at, "invalid int literal");
      return { kind: "literal", at, value: token.value };
    }
    if (is("(")) {
      next();
      const inner = expression();
      expect(")");
      return inner;
    }
    if (is("[")) {
      next();
      const elements: { value: Expression; optional: boolean }[] = [];
      while (!is("]")) {
        const optional = is("?");
        if (optional) next();
        elements.push({ value: expression(), optional });
        if (!is(",")) break;
        next();
      }
      expect("]");
      return { kind: "list", at, elements };
    }
    if (is("{")) {
      next();
      const entries: { key: Expression; value: Expression; optional: boolean }[] = [];
      while (!is("}")) {
        const optional = is("?");
        if (optional) next();
        const key = expression();
        expect(":");
        entries.push({ key, value: expression(), optional });
        if (!is(",")) break;
        next();
      }
      expect("}");
      return { kind: "map", at, entries };
    }
    const isRooted = is(".");
    if (isRooted) next();
    const name = peek();
    if (name.kind !== "name") return unexpected();
    next();
    if (reserved.has(name.text)) fail(name.at, `reserved identifier: ${name.text}`);
    if (is("(")) {
      const open = next().at;
      return globalCall(open, name.text, args(")"));
    }
    if (is("{") && /^[A-Z]/.test(name.text)) return message(name.text);
    return { kind: "name", at, name: name.text };
  }

  function globalCall(at: number, name: string, given: readonly Expression[]): Expression {
    const [of] = given;
    if (name !== "has" || given.length !== 1 || of === undefined) return call(at, name, given);
    if (of.kind !== "select" || of.optional) return fail(of.at, "invalid argument to has() macro");
    return { kind: "has", at, of: of.of, field: of.field };
  }

  function memberCall(at: number, name: string, receiver: Expression, given: readonly Expression[]): Expression {
    const macro = macros[`${name}/${given.length}`];
    if (macro === undefined) return { kind: "call", at, function: name, receiver, args: given };
    const variables = given.slice(0, macro.variables).map((each) => {
      if (each.kind !== "name") return fail(each.at, "argument must be a simple name");
      return each.name;
    });
    const rest = given.slice(macro.variables);
    if (macro.fold === "optMap" || macro.fold === "optFlatMap") {
      const [result] = rest;
      if (result === undefined) return unexpected();
      return {
        kind: "optMap",
        at,
        of: receiver,
        variable: variables[0] ?? "",
        result,
        flat: macro.fold === "optFlatMap",
      };
    }
    if (variables.length === 2 && variables[0] === variables[1])
      fail(given[1]?.at ?? at, `duplicate variable name: ${variables[1]}`);
    const part = (which: "filter" | "result"): Expression | undefined => {
      const index = macro.parts.indexOf(which);
      return index < 0 ? undefined : rest[index];
    };
    return {
      kind: "fold",
      at,
      macro: macro.fold,
      range: receiver,
      variables,
      filter: part("filter"),
      result: part("result"),
    };
  }

  return {
    expression,
    end() {
      const { kind, at, text } = peek();
      if (kind === "end") return;
      fail(at, `Syntax error: extraneous input '${text}' expecting <EOF>`);
    },
  };
}

interface Macro {
  readonly fold: Fold | "optMap" | "optFlatMap";
  readonly variables: 1 | 2;
  readonly parts: readonly ("filter" | "result")[];
}

/** cel-go parser/macro.go, ext/comprehensions.go, ext/lists.go: by name and number of arguments. */
const macros: { readonly [name: string]: Macro | undefined } = {
  "all/2": { fold: "all", variables: 1, parts: ["filter"] },
  "all/3": { fold: "all", variables: 2, parts: ["filter"] },
  "exists/2": { fold: "exists", variables: 1, parts: ["filter"] },
  "exists/3": { fold: "exists", variables: 2, parts: ["filter"] },
  "exists_one/3": { fold: "existsOne", variables: 2, parts: ["filter"] },
  "exists_one/2": { fold: "existsOne", variables: 1, parts: ["filter"] },
  "existsOne/2": { fold: "existsOne", variables: 1, parts: ["filter"] },
  "existsOne/3": { fold: "existsOne", variables: 2, parts: ["filter"] },
  "map/2": { fold: "map", variables: 1, parts: ["result"] },
  "map/3": { fold: "map", variables: 1, parts: ["filter", "result"] },
  "filter/2": { fold: "filter", variables: 1, parts: ["filter"] },
  "transformList/3": { fold: "map", variables: 2, parts: ["result"] },
  "transformList/4": { fold: "map", variables: 2, parts: ["filter", "result"] },
  "transformMap/3": { fold: "transformMap", variables: 2, parts: ["result"] },
  "transformMap/4": { fold: "transformMap", variables: 2, parts: ["filter", "result"] },
  "transformMapEntry/3": { fold: "transformMapEntry", variables: 2, parts: ["result"] },
  "transformMapEntry/4": { fold: "transformMapEntry", variables: 2, parts: ["filter", "result"] },
  "sortBy/2": { fold: "sortBy", variables: 1, parts: ["result"] },
  "optMap/2": { fold: "optMap", variables: 1, parts: ["result"] },
  "optFlatMap/2": { fold: "optFlatMap", variables: 1, parts: ["result"] },
};

function call(at: number, name: string, args: readonly Expression[]): Expression {
  return { kind: "call", at, function: name, receiver: undefined, args };
}

/** `Object.spec` of a chain of names; undefined where it is something else. */
export function typeName(expression: Expression): string | undefined {
  if (expression.kind === "name") return expression.name;
  if (expression.kind !== "select" || expression.optional) return undefined;
  const of = typeName(expression.of);
  return of === undefined ? undefined : `${of}.${expression.field}`;
}
