import assert from "node:assert/strict";
import { test } from "node:test";

import { deployment, service, testCluster } from "./cluster.testing.ts";
import { deployments, endpointSlices, events, pods, replicaSets, services } from "./resources.ts";

test("a Deployment becomes a ReplicaSet, pods on nodes, and endpoints once they are ready", async () => {
  const cluster = await testCluster();
  cluster.create(deployment("web", 3), service("web"));
  await cluster.idle();
  assert.deepEqual(
    cluster
      .list(pods)
      .map(({ spec }) => spec.nodeName)
      .sort(),
    ["node-1", "node-2", "node-3"],
  );
  const [set] = cluster.list(replicaSets);
  assert.match(set?.metadata.name ?? "", /^web-[a-z0-9]{5,10}$/);
  assert.equal(set?.metadata.annotations?.["deployment.kubernetes.io/revision"], "1");
  assert.equal(cluster.must(deployments, "web").metadata.annotations?.["deployment.kubernetes.io/revision"], "1");
  await cluster.settle();
  const status = cluster.must(deployments, "web").status;
  assert.equal(status?.availableReplicas, 3);
  assert.deepEqual(
    status?.conditions?.map(({ type, status, reason }) => [type, status, reason]),
    [
      ["Available", "True", "MinimumReplicasAvailable"],
      ["Progressing", "True", "NewReplicaSetAvailable"],
    ],
  );
  const slices = cluster.list(endpointSlices);
  assert.deepEqual(
    slices.map(({ addressType, endpoints, ports }) => [addressType, endpoints?.length, ports?.[0]?.port]),
    [["IPv4", 3, 8080]],
  );
  assert.deepEqual(
    cluster
      .list(events)
      .filter(({ involvedObject }) => involvedObject.kind === "Deployment")
      .map(({ message }) => message),
    [`Scaled up replica set ${set?.metadata.name} from 0 to 3`],
  );
  assert.deepEqual(cluster.failures, []);
  assert.equal(cluster.must(services, "web").spec.clusterIPs?.length, 1);
  cluster.close();
});
