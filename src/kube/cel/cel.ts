// The Common Expression Language as Kubernetes has it: an expression is read, its types are checked, and it becomes a program that may
// cost so much and no more. The parts are: syntax, tokens, parse; types, environment, check; estimate; values, evaluate; the libraries.
//
// Own code, as every one of these is asked of it: cel-go's words where an expression is wrong (users know them from `kubectl apply`),
// its costs, types of objects by their schema, messages, and patterns that cannot hold the server.

import { checkExpression } from "./check.ts";
import { functionsOf, type Environment, type Functions, type Overload } from "./environment.ts";
import { estimatedCost, type Bounds } from "./estimate.ts";
import { programOf, type Program } from "./evaluate.ts";
import { kubernetesOverloads } from "./kubernetes.ts";
import { parseExpression } from "./parse.ts";
import { standardOverloads } from "./standard.ts";
import type { Expression } from "./syntax.ts";
import type { Type } from "./types.ts";
import type { Value } from "./values.ts";

/** An expression that has passed its checks. */
export interface Compiled {
  readonly type: Type;
  /** The variables that it uses. */
  readonly variables: ReadonlySet<string>;
  readonly program: Program;
}

/** Compiles an expression. Throws ExpressionError. */
export function compileExpression(
  source: string,
  environment: Environment,
  construct?: (type: string, fields: ReadonlyMap<string, Value>) => Value,
): Compiled {
  const checked = checkExpression(source, parseExpression(source), environment);
  return { type: checked.type, variables: checked.variables, program: programOf(checked, construct) };
}

/** What an expression may cost at most, its variables being all as `root` says. It must be one that compiles. */
export function costOf(source: string, environment: Environment, root: Bounds): number {
  const types = new Map<Expression, Type>();
  return estimatedCost(checkExpression(source, parseExpression(source), environment, types), types, root);
}

/** The functions of Kubernetes 1.36, and perhaps more. */
export function kubernetesFunctions(more: readonly Overload[] = []): Functions {
  return functionsOf(standardOverloads, kubernetesOverloads, more);
}

/** apiserver pkg/apis/cel/config.go: what one call may cost, and all calls for one object together. */
export const costLimits = { call: 1_000_000, object: 10_000_000 } as const;
