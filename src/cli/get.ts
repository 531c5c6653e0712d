// `fairlead get`: lists objects as a table, JSON, YAML or names.

import process from "node:process";
import { stringify } from "yaml";
import { columnsOf } from "../kube/columns.ts";
import type { KubeObject } from "../kube/object.ts";
import type { PrinterColumn } from "../lab/api/custom-definitions.ts";
import { customTextColumns } from "../lab/apiserver/represent.ts";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { table } from "./report.ts";

interface GetOptions {
  readonly namespace: string;
  readonly allNamespaces?: boolean;
  readonly selector?: string;
  readonly watch?: boolean;
  readonly output?: "wide" | "json" | "yaml" | "name";
  readonly name: string;
}

interface Listing {
  readonly resource: {
    readonly group: string;
    readonly resource: string;
    readonly singular: string;
    readonly namespaced: boolean;
  };
  /** Of custom resources: what their definition names, null where it names none. */
  readonly columns?: readonly PrinterColumn[] | null;
  readonly items: readonly KubeObject[];
}

export default async function get(resource: string, names: readonly string[], options: GetOptions): Promise<number> {
  const [word = "", name] = resource.split("/");
  const query = {
    resources:
      word === "all"
        ? ["pods", "services", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs"]
        : word.split(","),
    names: name === undefined ? names : [name, ...names],
    namespace: options.allNamespaces === true ? undefined : options.namespace,
    selector: options.selector,
  };
  const lab = labClient(labPaths(options.name));
  const { listings } = await lab.call<{ listings: readonly Listing[] }>("/get", query);
  print(listings, query.names.length === 1, options);
  if (options.watch === true) {
    await lab.lines<Pick<Listing, "resource" | "columns"> & { object: KubeObject }>(
      "/watch",
      query,
      ({ object, ...kind }) => {
        const listing = { ...kind, items: [object] };
        print([listing], true, options, false);
      },
    );
  }
  return 0;
}

function print(listings: readonly Listing[], single: boolean, options: GetOptions, header = true): void {
  const items = listings.flatMap((listing) => listing.items);
  switch (options.output) {
    case "json":
    case "yaml": {
      const value = single && items.length === 1 ? items[0] : { apiVersion: "v1", kind: "List", items };
      process.stdout.write(options.output === "json" ? `${JSON.stringify(value, undefined, 2)}\n` : stringify(value));
      return;
    }
    case "name":
      for (const { resource, items: each } of listings)
        for (const object of each)
          process.stdout.write(
            `${resource.singular}${resource.group === "" ? "" : `.${resource.group}`}/${object.metadata.name}\n`,
          );
      return;
    case "wide":
    case undefined: {
      if (items.length === 0) {
        process.stderr.write(
          options.allNamespaces === true
            ? "No resources found\n"
            : `No resources found in ${options.namespace} namespace.\n`,
        );
        return;
      }
      const tables = listings
        .filter((listing) => listing.items.length > 0)
        .map((listing) => tableOf(listing, options, header, listings.length > 1));
      process.stdout.write(tables.join("\n"));
    }
  }
}

function tableOf(listing: Listing, options: GetOptions, header: boolean, prefixed: boolean): string {
  const now = Date.now();
  const known = listing.columns === undefined ? columnsOf(listing.resource) : customTextColumns(listing.columns);
  const columns = known.filter((column) => options.output === "wide" || column.wide !== true);
  const withNamespace = options.allNamespaces === true && listing.resource.namespaced;
  const head = [...(withNamespace ? ["NAMESPACE"] : []), ...columns.map((column) => column.name.toUpperCase())];
  const rows = listing.items.map((object) => [
    ...(withNamespace ? [object.metadata.namespace ?? ""] : []),
    ...columns.map(
      (column, i) => `${i === 0 && prefixed ? `${listing.resource.singular}/` : ""}${column.value(object, now)}`,
    ),
  ]);
  return table(header ? [head, ...rows] : rows);
}
