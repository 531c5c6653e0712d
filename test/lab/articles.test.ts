// The articles' stories told with their own commands and manifests: what works, and what is said where it does not.
// Needs: ip

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { probeUserNamespaces } from "../../src/kernel/refusal.ts";
import { withLabs, type CommandResult } from "./lab.testing.ts";

// "Administrators must then explicitly allow all required inbound and outbound connections, including domain name resolution traffic."
const withoutDns = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-api-server, namespace: production}
spec:
  podSelector: {matchLabels: {app: frontend}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: api-server}}}]}]
`;

// "… that the underlying network interface is listening for incoming connections."
const loopbackOnly = `apiVersion: v1
kind: Pod
metadata: {name: shy, namespace: production, labels: {app: shy}}
spec:
  containers: [{name: c, image: hashicorp/http-echo:1.0, args: ["-listen=127.0.0.1:9000", "-text=shy"]}]
---
apiVersion: v1
kind: Service
metadata: {name: shy, namespace: production}
spec: {selector: {app: shy}, ports: [{port: 9000}]}
`;

test("the articles' commands, and what is said of the faults they warn of", async (context) => {
  if (cannot(context)) return;
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "-f", "examples/articles").status, 0);
    const said = ({ status, stdout, stderr }: CommandResult): string => {
      assert.equal(status, 0, `${stdout}${stderr}`);
      return stdout;
    };
    const inPod = (pod: string, ...command: readonly string[]): CommandResult =>
      lab.fairlead("exec", "-n", "production", pod, "--", ...command);

    const fullName = "postgres-service.production.svc.cluster.local";
    assert.match(said(inPod("target-pod-name", "nslookup", fullName)), /Address: 10\.96\./);
    assert.equal(said(inPod("deploy/frontend", "curl", "-s", "http://localhost:9000")).trim(), "logged");
    assert.match(said(inPod("target-pod-name", "curl", "-s", "http://foo.bar/hostname")), /^foo-/);
    assert.match(said(lab.fairlead("exec", "node/node-1", "--", "ip", "route")), /dev fl\.vx/);
    assert.match(said(lab.fairlead("exec", "node/node-1", "--", "ip", "address", "show", "cbr0")), /10\.244\.0\.1/);
    assert.match(said(inPod("target-pod-name", "cat", "/etc/passwd")), /^tcpdump:x:0:/m);

    const trace = (...words: readonly string[]): string => {
      const { status, stdout, stderr } = lab.fairlead("trace", ...words, "--live");
      assert.equal(status, 1, stderr);
      assert.doesNotMatch(stdout, /DISAGREE/);
      return stdout;
    };
    const elsewhere = trace("production/target-pod-name", "http://foo/");
    assert.match(elsewhere, /namespace production has no Service foo/);
    assert.match(elsewhere, /asked for as foo\.bar/);

    said(lab.fairlead("apply", "-f", lab.file("loopback.yaml", loopbackOnly)));
    said(lab.fairlead("up", "--quiet"));
    assert.notEqual(inPod("target-pod-name", "curl", "-s", "-m", "5", "http://shy:9000").status, 0);
    const shy = trace("production/target-pod-name", "http://shy:9000");
    assert.match(shy, /REFUSED at pod production\/shy/);
    assert.match(shy, /nothing listens on 9000 in production\/shy; it listens on 127\.0\.0\.1:9000/);

    // "The internal CoreDNS deployment is misconfigured or overwhelmed", or gone.
    said(lab.fairlead("delete", "-n", "kube-system", "service", "kube-dns"));
    assert.match(trace("production/target-pod-name", "http://foo.bar"), /no Service has this address/);
    assert.match(said(lab.fairlead("up")), /restored +Service kube-system\/kube-dns/);
    assert.match(said(inPod("target-pod-name", "curl", "-s", "http://foo.bar/hostname")), /^foo-/);

    const corefile = `apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data: {Corefile: ".:53 {\\n ready\\n health\\n kubernetes cluster.lokal\\n reload\\n}\\n"}
`;
    said(lab.fairlead("apply", "-f", lab.file("corefile.yaml", corefile)));
    const misled = until(
      () => lab.fairlead("trace", "production/target-pod-name", "http://foo.bar", "--live"),
      ({ status }) => status === 2,
    );
    assert.match(misled.stdout, /10\.96\.0\.10 says foo\.bar\.svc\.cluster\.local is \w+ +THE TRACE .* DISAGREE/);
    assert.match(misled.stdout, /by its Corefile/);
    const mended = corefile.replace("lokal", "local\\n hosts {\\n  10.96.0.1 legacy.example\\n  fallthrough\\n }");
    said(lab.fairlead("apply", "-f", lab.file("corefile.yaml", mended)));
    until(
      () => inPod("target-pod-name", "nslookup", "foo.bar"),
      ({ status }) => status === 0,
    );
    // A name that is not the cluster's: only who asks knows where it leads.
    assert.match(trace("production/target-pod-name", "nobody.example:443"), /asked of the upstream resolvers/);
    const legacy = said(lab.fairlead("trace", "production/target-pod-name", "https://legacy.example", "--live"));
    assert.match(legacy, /legacy\.example → 10\.96\.0\.1 .*by the upstream resolvers/);
    assert.match(legacy, /live +answered/);

    // Never ready, not even for a moment.
    const failed = `apiVersion: v1
kind: Pod
metadata: {name: failed}
spec:
  restartPolicy: Never
  initContainers: [{name: first, image: busybox, command: ["false"]}]
  containers: [{name: c, image: busybox, command: ["true"]}]
`;
    const hopeless = lab.fairlead("up", "-f", lab.file("failed.yaml", failed));
    assert.match(hopeless.stderr, /not ready and will not be:\n  pod default\/failed: /);
    said(lab.fairlead("delete", "pod", "failed"));

    const url = "http://api-server:8080/hostname";
    assert.match(said(inPod("target-pod-name", "curl", "-s", url)), /^api-server-/);
    said(lab.fairlead("apply", "-f", lab.file("without-dns.yaml", withoutDns)));
    assert.notEqual(inPod("target-pod-name", "curl", "-s", "-m", "1", url).status, 0);
    const unasked = trace("production/target-pod-name", url);
    assert.match(unasked, /UNRESOLVED: no question reaches cluster DNS/);
    assert.match(unasked, /10\.96\.0\.10:53\/udp +DROPPED .*egress of target-pod-name/);
    assert.match(unasked, /cure .*k8s-app: kube-dns/);
    assert.match(unasked, /live +timeout: udp to 10\.96\.0\.10 port 53/);
  });
});

/** A Corefile comes into force some time after it was written. */
function until(look: () => CommandResult, isSo: (result: CommandResult) => boolean): CommandResult {
  let result = look();
  for (let left = 100; left > 0 && !isSo(result); left--) result = look();
  return result;
}

function cannot(context: TestContext): boolean {
  const namespaces = probeUserNamespaces();
  if (!namespaces.available) context.skip(namespaces.reason);
  return !namespaces.available;
}
