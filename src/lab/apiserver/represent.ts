// Objects as a client sees them: in the version it asked for, whole, as rows of a Table, or as metadata alone.
//
// Not here: which form was asked for (negotiate.ts), how versions of one kind differ (conversions.ts), the columns of the built-in
// kinds (kube/columns.ts).

import type { Column } from "../../kube/column.ts";
import { columnsOf } from "../../kube/columns.ts";
import { humanDuration } from "../../kube/duration.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { PrinterColumn } from "../api/custom-definitions.ts";
import type { Kind } from "../api/kinds.ts";
import { shownObject } from "./shown.ts";
import { valuesAt } from "./json-path.ts";
import type { Form } from "./negotiate.ts";

/** How the objects of a kind are shown in a form. */
export interface View {
  readonly kind: Kind;
  readonly form: Form;
  /** For tables: what a row carries besides its cells. */
  readonly rowObject: "None" | "Metadata" | "Object";
  /** For tables: has who reads been told the columns? */
  readonly knowsColumns?: boolean;
  /** Milliseconds since 1970, for ages. */
  readonly now: () => number;
}

/** One object, alone. */
export function showObject(object: KubeObject, view: View): unknown {
  switch (view.form.as) {
    case "object":
      return shownObject(object, view.kind);
    case "metadata":
      return partial(object, view.form);
    case "table":
      return table([object], object.metadata.resourceVersion, view);
  }
}

/** What a list says besides its items. */
export interface ListMeta {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

/** Items that are written at once: enough to be quick, few enough that others get their turn. */
const itemsPerChunk = 500;

/** A list as JSON text, in pieces: there may be many items. */
export function* listChunks(items: readonly KubeObject[], metadata: ListMeta, view: View): Iterable<string> {
  const { kind, form } = view;
  const isTable = form.as === "table";
  const head = isTable
    ? { ...tableHead(view), metadata }
    : form.as === "metadata"
      ? { kind: "PartialObjectMetadataList", apiVersion: `meta.k8s.io/${form.version}`, metadata }
      : { kind: `${kind.kind}List`, apiVersion: kind.apiVersion, metadata };
  const now = view.now();
  const itemText = (object: KubeObject): string =>
    JSON.stringify(
      isTable ? tableRow(object, now, view) : form.as === "metadata" ? partial(object, form) : listItem(object, kind),
    );
  let text = `${JSON.stringify(head).slice(0, -1)},"${isTable ? "rows" : "items"}":[`;
  for (const [index, object] of items.entries()) {
    text += index === 0 ? itemText(object) : `,${itemText(object)}`;
    if ((index + 1) % itemsPerChunk !== 0) continue;
    yield text;
    text = "";
  }
  yield `${text}]}\n`;
}

/** Go's typed lists carry no kind and version in their items; lists of custom resources do. */
function listItem(object: KubeObject, kind: Kind): unknown {
  const { apiVersion, kind: name, ...rest } = shownObject(object, kind);
  return isTypedList(kind) ? rest : { apiVersion, kind: name, ...rest };
}

const customGroups = new Set(["gateway.networking.k8s.io", "policy.networking.k8s.io", "multicluster.x-k8s.io"]);

/** Kinds that upstream compiles in, unlike those it knows from CustomResourceDefinitions only. */
function isTypedList({ group, custom }: Kind): boolean {
  return custom === undefined && !customGroups.has(group);
}

function partial({ metadata }: KubeObject, { version }: Form): object {
  return { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${version}`, metadata };
}

interface TableColumn {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly description: string;
  readonly priority: number;
}

/** meta/v1 Table. */
function table(items: readonly KubeObject[], resourceVersion: string | undefined, view: View): object {
  const now = view.now();
  return {
    ...tableHead(view),
    metadata: resourceVersion === undefined ? {} : { resourceVersion },
    rows: items.map((object) => tableRow(object, now, view)),
  };
}

function tableHead({ kind, form, knowsColumns = false }: View): object {
  return {
    kind: "Table",
    apiVersion: `meta.k8s.io/${form.version}`,
    columnDefinitions: knowsColumns ? null : tableColumns(kind).map(({ definition }) => definition),
  };
}

function tableRow(object: KubeObject, now: number, view: View): object {
  return { cells: tableColumns(view.kind).map(({ cell }) => cell(object, now)), ...rowObject(object, view) };
}

function rowObject(object: KubeObject, view: View): { readonly object?: unknown } {
  switch (view.rowObject) {
    case "None":
      return { object: null };
    case "Metadata": {
      // Whoever looks at a table does not look at these, and they are half of it.
      const { managedFields: _, ...metadata } = object.metadata;
      return { object: partial({ ...object, metadata }, view.form) };
    }
    case "Object":
      return { object: shownObject(object, view.kind) };
  }
}

interface CellColumn {
  readonly definition: TableColumn;
  readonly cell: (object: KubeObject, now: number) => unknown;
}

function tableColumns(kind: Kind): readonly CellColumn[] {
  const known = columnsByKind.get(kind);
  if (known !== undefined) return known;
  const columns =
    kind.custom === undefined ? builtinColumns(kind) : customColumns(kind.custom.additionalPrinterColumns);
  columnsByKind.set(kind, columns);
  return columns;
}

const columnsByKind = new WeakMap<Kind, readonly CellColumn[]>();

function builtinColumns({ stored }: Kind): readonly CellColumn[] {
  return columnsOf(stored).map(({ name, wide, value, ...declared }) => ({
    definition: column(name, { ...declared, priority: wide === true ? 1 : 0 }),
    cell: (object, now) => value(object, now),
  }));
}

function column(
  name: string,
  options: { format?: string; priority?: number; type?: string; description?: string },
): TableColumn {
  const { type = "string", format = "", description = "", priority = 0 } = options;
  return { name, type, format, description, priority };
}

const nameColumn: CellColumn = {
  definition: column("Name", { format: "name" }),
  cell: ({ metadata }) => metadata.name,
};
const ageColumn: PrinterColumn = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };

// apiextensions-apiserver pkg/registry/customresource/tableconvertor
function customColumns(columns: readonly PrinterColumn[] | undefined): readonly CellColumn[] {
  return [nameColumn, ...(columns ?? [ageColumn]).map(customColumn)];
}

/** A custom resource's columns as text, for command lines; null: its definition names none. */
export function customTextColumns(columns: readonly PrinterColumn[] | null): readonly Column[] {
  return customColumns(columns ?? undefined).map(({ definition, cell }) => ({
    name: definition.name,
    wide: definition.priority > 0,
    value(object, now) {
      const value = cell(object, now);
      return typeof value === "string" ? value : value === null || value === undefined ? "" : JSON.stringify(value);
    },
  }));
}

function customColumn({ name, type, format, description, priority, jsonPath }: PrinterColumn): CellColumn {
  return {
    definition: column(name, {
      type,
      ...(format === undefined ? {} : { format }),
      ...(description === undefined ? {} : { description }),
      ...(priority === undefined ? {} : { priority }),
    }),
    cell: (object, now) => customCell(valuesAt(object, jsonPath), type, now),
  };
}

function customCell(values: readonly unknown[], type: string, now: number): unknown {
  const [value] = values;
  if (value === undefined || value === null) return null;
  if (type === "date") {
    const time = Date.parse(textOf(value));
    return Number.isNaN(time) ? "<invalid>" : humanDuration(now - time);
  }
  if (type === "integer" || type === "number") return typeof value === "number" ? value : null;
  if (type === "boolean") return typeof value === "boolean" ? value : null;
  return values.map(textOf).join(",");
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
