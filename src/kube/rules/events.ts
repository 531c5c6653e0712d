// Rules for Events, of which there are two APIs: the new one says when and by whom, and what it has said it does not change.
// Wording: upstream's pkg/apis/core/validation/events.go.

import { sameJson } from "../equal.ts";
import { qualifiedName } from "../formats.ts";
import type { KubeObject } from "../object.ts";
import { invalid, required, type FieldProblem } from "../problem.ts";
import type { Rules } from "./rule.ts";

export const eventRules: Rules = {
  "core.v1.Event": (event: StoredEvent) => eventProblems(event, "reportingComponent"),
};

/** As they are stored: in the form of the first API. */
interface StoredEvent extends KubeObject {
  readonly involvedObject?: { readonly namespace?: string };
  readonly eventTime?: string | null;
  readonly reportingComponent?: string;
  readonly reportingInstance?: string;
  readonly action?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly type?: string;
  readonly count?: number;
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  readonly source?: { readonly component?: string; readonly host?: string };
  readonly series?: { readonly count?: number; readonly lastObservedTime?: string | null };
}

const lengths = { reportingInstance: 128, action: 128, reason: 128, message: 1024 } as const;

function* eventProblems(event: StoredEvent, reporter: string): Iterable<FieldProblem> {
  const { namespace = "" } = event.metadata;
  const about = event.involvedObject?.namespace ?? "";
  const isTimed = (event.eventTime ?? "") !== "";
  // What is of no namespace is told of in the default one, and the system's own in its.
  const homes = isTimed ? ["default", "kube-system"] : ["", "default"];
  if (about === "" ? !homes.includes(namespace) : !isTimed && about !== namespace)
    yield invalid("involvedObject.namespace", about, "does not match event.namespace");
  if (!isTimed) return;
  const { reportingComponent = "" } = event;
  if (reportingComponent === "") yield required(reporter);
  for (const problem of qualifiedName(reportingComponent)) yield invalid(reporter, reportingComponent, problem);
  for (const [field, lengthMax] of Object.entries(lengths) as [keyof typeof lengths, number][]) {
    const text = event[field] ?? "";
    if (text === "" && field !== "message") yield required(field);
    if (text.length > lengthMax) yield invalid(field, "", `can have at most ${lengthMax} characters`);
  }
}

const fixed = [
  "involvedObject",
  "reason",
  "message",
  "source",
  "firstTimestamp",
  "lastTimestamp",
  "count",
  "type",
  "eventTime",
  "action",
  "related",
  "reportingComponent",
  "reportingInstance",
] as const;

/** What the new API does not like of an Event beside what the old one does not; `object` is in the stored form. */
export function* newEventProblems(object: KubeObject, previous: KubeObject | undefined): Iterable<FieldProblem> {
  const event = object as StoredEvent;
  yield* eventProblems(event, "reportingController");
  if (previous === undefined || !sameJson(event.series, previous["series"])) yield* series(event);
  if (previous !== undefined) {
    for (const field of fixed)
      if (!sameJson(event[field as keyof StoredEvent] ?? null, previous[field] ?? null))
        yield invalid(
          field === "reportingComponent" ? "reportingController" : field,
          event[field as keyof StoredEvent],
          "field is immutable",
        );
    return;
  }
  if ((event.eventTime ?? "") === "") yield required("eventTime");
  if (event.type !== "Normal" && event.type !== "Warning")
    yield invalid("type", "", `has invalid value: ${event.type ?? ""}`);
  for (const field of ["firstTimestamp", "lastTimestamp"] as const)
    if ((event[field] ?? "") !== "") yield invalid(field, "", "needs to be unset");
  if ((event.count ?? 0) !== 0) yield invalid("count", "", "needs to be unset");
  if ((event.source?.component ?? "") + (event.source?.host ?? "") !== "")
    yield invalid("source", "", "needs to be unset");
}

function* series({ series: told }: StoredEvent): Iterable<FieldProblem> {
  if (told === undefined) return;
  if ((told.count ?? 0) < 2) yield invalid("series.count", "", "should be at least 2");
  if ((told.lastObservedTime ?? "") === "") yield required("series.lastObservedTime");
}
