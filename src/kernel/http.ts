// Node's http module, whole. Importing it by its name asks for each of its exports, WebSocket among them, and so loads a whole client that
// nobody here uses: 20 milliseconds at the start of every process (http.test.ts sees to it that nobody does).

import process from "node:process";
import type * as Http from "node:http";

export const http: typeof Http = process.getBuiltinModule("node:http");
