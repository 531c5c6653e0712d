// Columns of the kinds that have to do with storage and with devices (kubernetes/pkg/printers/internalversion).

import {
  ageColumn,
  booleanColumn as boolean,
  cellColumn as text,
  integerColumn as integer,
  listAt as list,
  pathColumn as at,
  textAt,
  valueAt,
  wideColumn as wide,
  type Column,
} from "./column.ts";
import type { KubeObject } from "./object.ts";

/** Columns by resource, without name and, at its usual place, age. */
export const storageTables: Readonly<Record<string, readonly Column[]>> = {
  persistentvolumes: [
    at("Capacity", "spec.capacity.storage", "0"),
    text("Access Modes", (object) => accessModes(list(object, "spec.accessModes"))),
    at("Reclaim Policy", "spec.persistentVolumeReclaimPolicy", ""),
    text("Status", phase),
    text("Claim", ({ spec }) => {
      const { claimRef } = (spec ?? {}) as { claimRef?: { namespace?: string; name?: string } };
      return claimRef === undefined ? "" : `${claimRef.namespace}/${claimRef.name}`;
    }),
    at("StorageClass", "spec.storageClassName", ""),
    at("VolumeAttributesClass", "spec.volumeAttributesClassName", "<unset>"),
    at("Reason", "status.reason", ""),
    ageColumn,
    wide("VolumeMode", (object) => textAt(object, "spec.volumeMode") || "<unset>"),
  ],
  persistentvolumeclaims: [
    text("Status", phase),
    at("Volume", "spec.volumeName", ""),
    at("Capacity", "status.capacity.storage", ""),
    text("Access Modes", (object) => accessModes(list(object, "status.accessModes"))),
    at("StorageClass", "spec.storageClassName", ""),
    at("VolumeAttributesClass", "spec.volumeAttributesClassName", "<unset>"),
    ageColumn,
    wide("VolumeMode", (object) => textAt(object, "spec.volumeMode") || "<unset>"),
  ],
  "storageclasses.storage.k8s.io": [
    at("Provisioner", "provisioner"),
    at("ReclaimPolicy", "reclaimPolicy", "Delete"),
    at("VolumeBindingMode", "volumeBindingMode", "Immediate"),
    text("AllowVolumeExpansion", (object) => object["allowVolumeExpansion"] === true),
  ],
  "csidrivers.storage.k8s.io": [
    boolean("AttachRequired", (object) => valueAt(object, "spec.attachRequired") !== false),
    boolean("PodInfoOnMount", (object) => valueAt(object, "spec.podInfoOnMount") === true),
    boolean("StorageCapacity", (object) => valueAt(object, "spec.storageCapacity") === true),
    text("TokenRequests", (object) =>
      valueAt(object, "spec.tokenRequests") === undefined
        ? "<unset>"
        : (list(object, "spec.tokenRequests") as readonly { audience?: string }[])
            .map(({ audience }) => audience ?? "")
            .join(","),
    ),
    boolean("RequiresRepublish", (object) => valueAt(object, "spec.requiresRepublish") === true),
    text("Modes", (object) => list(object, "spec.volumeLifecycleModes").join(",") || "<none>"),
  ],
  "csinodes.storage.k8s.io": [integer("Drivers", (object) => list(object, "spec.drivers").length)],
  "volumeattachments.storage.k8s.io": [
    { ...at("Attacher", "spec.attacher", ""), format: "name" },
    at("PV", "spec.source.persistentVolumeName", ""),
    at("Node", "spec.nodeName", ""),
    boolean("Attached", (object) => valueAt(object, "status.attached") === true),
  ],
  "volumeattributesclasses.storage.k8s.io": [at("DriverName", "driverName", "")],
  "resourceclaims.resource.k8s.io": [text("State", claimState)],
  "resourceslices.resource.k8s.io": [
    at("Node", "spec.nodeName", ""),
    at("Driver", "spec.driver", ""),
    at("Pool", "spec.pool.name", ""),
  ],
};

function phase(object: KubeObject): string {
  return object.metadata.deletionTimestamp === undefined ? textAt(object, "status.phase") : "Terminating";
}

// printers.go resourceClaimState
function claimState(object: KubeObject): string {
  const states = [
    ...(object.metadata.deletionTimestamp === undefined ? [] : ["deleted"]),
    ...(valueAt(object, "status.allocation") === undefined ? [] : ["allocated"]),
    ...(list(object, "status.reservedFor").length === 0 ? [] : ["reserved"]),
  ];
  return states.length === 0 ? "pending" : states.join(",");
}

const accessModeLetters: { readonly [mode: string]: string } = {
  ReadWriteOnce: "RWO",
  ReadOnlyMany: "ROX",
  ReadWriteMany: "RWX",
  ReadWriteOncePod: "RWOP",
};

function accessModes(modes: readonly unknown[]): string {
  return modes.map((mode) => accessModeLetters[String(mode)] ?? String(mode)).join(",");
}
