// The roles and bindings every cluster has from the start, as facts: what kube-apiserver 1.36 creates by itself
// (plugin/pkg/auth/authorizer/rbac/bootstrappolicy), and what kubeadm adds for CoreDNS and kube-proxy.
//
//   clusterrole NAME [label=L] [collects=L]     role NAMESPACE NAME          L: a label of rbac.authorization.k8s.io/
//     VERBS GROUPS RESOURCES [NAMES]            `core` is the empty group
//     VERBS paths PATHS
//   clusterrolebinding NAME ROLE [SUBJECT …]    rolebinding NAMESPACE NAME ROLE [SUBJECT …]
//
// READ, WRITE and ALL stand for get,list,watch; the five that write; and both.

export const policyTable: string = String.raw`
clusterrole admin collects=aggregate-to-admin
clusterrole cluster-admin
  * * *
  * paths *
clusterrole edit label=aggregate-to-admin collects=aggregate-to-edit
clusterrole system:aggregate-to-admin label=aggregate-to-admin
  create authorization.k8s.io localsubjectaccessreviews
  ALL rbac.authorization.k8s.io rolebindings,roles
clusterrole system:aggregate-to-edit label=aggregate-to-edit
  READ core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
  impersonate core serviceaccounts
  WRITE core pods,pods/attach,pods/exec,pods/portforward,pods/proxy
  create core pods/eviction
  WRITE core configmaps,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy
  create core serviceaccounts/token
  WRITE core,events.k8s.io events
  WRITE apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale
  WRITE autoscaling horizontalpodautoscalers
  WRITE batch cronjobs,jobs
  WRITE extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale
  WRITE policy poddisruptionbudgets
  WRITE networking.k8s.io ingresses,networkpolicies
  ALL coordination.k8s.io leases
  WRITE resource.k8s.io resourceclaims,resourceclaimtemplates
clusterrole system:aggregate-to-view label=aggregate-to-view
  READ core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status
  READ core bindings,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status
  READ core namespaces
  READ core,events.k8s.io events
  READ discovery.k8s.io endpointslices
  READ apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status
  READ autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
  READ batch cronjobs,cronjobs/status,jobs,jobs/status
  READ extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale
  READ policy poddisruptionbudgets,poddisruptionbudgets/status
  READ networking.k8s.io ingresses,ingresses/status,networkpolicies
  READ resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates
clusterrole system:auth-delegator
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
clusterrole system:basic-user
  create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
  create authentication.k8s.io selfsubjectreviews
clusterrole system:certificates.k8s.io:certificatesigningrequests:nodeclient
  create certificates.k8s.io certificatesigningrequests/nodeclient
clusterrole system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
  create certificates.k8s.io certificatesigningrequests/selfnodeclient
clusterrole system:certificates.k8s.io:kube-apiserver-client-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client
clusterrole system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
clusterrole system:certificates.k8s.io:kubelet-serving-approver
  approve certificates.k8s.io signers kubernetes.io/kubelet-serving
clusterrole system:certificates.k8s.io:legacy-unknown-approver
  approve certificates.k8s.io signers kubernetes.io/legacy-unknown
clusterrole system:coredns
  list,watch core endpoints,namespaces,pods,services
  get core nodes
  list,watch discovery.k8s.io endpointslices
clusterrole system:discovery
  get paths /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/
clusterrole system:heapster
  READ core events,namespaces,nodes,pods
  READ extensions deployments
clusterrole system:kube-aggregator
  READ core endpoints,services
clusterrole system:kube-controller-manager
  create,patch,update core,events.k8s.io events
  create coordination.k8s.io leases
  get,update coordination.k8s.io leases kube-controller-manager
  create core secrets,serviceaccounts
  delete core secrets
  get core configmaps,namespaces,secrets,serviceaccounts
  update core secrets,serviceaccounts
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  list,watch * *
  create core serviceaccounts/token
clusterrole system:kube-dns
  list,watch core endpoints,services
clusterrole system:kube-scheduler
  create,patch,update core,events.k8s.io events
  create coordination.k8s.io leases
  get,list,update,watch coordination.k8s.io leases kube-scheduler
  ALL coordination.k8s.io leasecandidates
  READ core nodes
  delete,READ core pods
  create core bindings,pods/binding
  patch,update core pods/status
  READ core replicationcontrollers,services
  READ apps,extensions replicasets
  READ apps statefulsets
  READ policy poddisruptionbudgets
  READ core persistentvolumeclaims,persistentvolumes
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  READ storage.k8s.io csinodes
  READ storage.k8s.io volumeattachments
  READ core namespaces
  READ storage.k8s.io csidrivers
  READ storage.k8s.io csistoragecapacities
  READ resource.k8s.io deviceclasses
  get,list,patch,update,watch resource.k8s.io resourceclaims
  get,list,patch,update,watch resource.k8s.io resourceclaims/status
  update core pods/finalizers
  READ resource.k8s.io resourceslices
  create,delete resource.k8s.io resourceclaims
  patch,update resource.k8s.io resourceclaims/binding
clusterrole system:kubelet-api-admin
  READ core nodes
  proxy core nodes
  * core nodes/log,nodes/metrics,nodes/proxy,nodes/stats
  * core nodes/configz,nodes/healthz,nodes/pods
clusterrole system:monitoring
  get paths /flagz,/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*,/statusz
  get core nodes/metrics
clusterrole system:node
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews
  READ core services
  create,READ core nodes
  patch,update core nodes/status
  patch,update core nodes
  create,patch,update core,events.k8s.io events
  READ core pods
  create,delete core pods
  patch,update core pods/status
  create core pods/eviction
  READ core configmaps,secrets
  get core persistentvolumeclaims,persistentvolumes
  get core endpoints
  create,READ certificates.k8s.io certificatesigningrequests
  create,delete,get,patch,update coordination.k8s.io leases
  get storage.k8s.io volumeattachments
  create core serviceaccounts/token
  get,patch,update core persistentvolumeclaims/status
  READ storage.k8s.io csidrivers
  create,delete,get,patch,update storage.k8s.io csinodes
  READ node.k8s.io runtimeclasses
  get resource.k8s.io resourceclaims
  deletecollection resource.k8s.io resourceslices
  get core serviceaccounts
clusterrole system:node-bootstrapper
  create,READ certificates.k8s.io certificatesigningrequests
clusterrole system:node-problem-detector
  get core nodes
  patch core nodes/status
  create,patch,update core,events.k8s.io events
clusterrole system:node-proxier
  list,watch core endpoints,services
  READ core nodes
  create,patch,update core,events.k8s.io events
  list,watch networking.k8s.io servicecidrs
  list,watch discovery.k8s.io endpointslices
clusterrole system:persistent-volume-provisioner
  create,delete,READ core persistentvolumes
  get,list,update,watch core persistentvolumeclaims
  READ storage.k8s.io storageclasses
  watch core events
  create,patch,update core,events.k8s.io events
clusterrole system:public-info-viewer
  get paths /healthz,/livez,/readyz,/version,/version/
clusterrole system:service-account-issuer-discovery
  get paths /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/
clusterrole system:volume-scheduler
  get,list,patch,update,watch core persistentvolumes
  READ storage.k8s.io storageclasses
  get,list,patch,update,watch core persistentvolumeclaims
clusterrole view label=aggregate-to-edit collects=aggregate-to-view
clusterrole system:controller:attachdetach-controller
  list,watch core persistentvolumeclaims,persistentvolumes
  READ core nodes
  patch,update core nodes/status
  list,watch core pods
  create,patch,update core,events.k8s.io events
  create,delete,READ storage.k8s.io volumeattachments
  READ storage.k8s.io csidrivers
  READ storage.k8s.io csinodes
clusterrole system:controller:certificate-controller
  delete,READ certificates.k8s.io certificatesigningrequests
  update certificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
  sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown
  create authorization.k8s.io subjectaccessreviews
  create,patch,update core,events.k8s.io events
clusterrole system:controller:clusterrole-aggregation-controller
  escalate,get,list,patch,update,watch rbac.authorization.k8s.io clusterroles
clusterrole system:controller:cronjob-controller
  get,list,update,watch batch cronjobs
  create,delete,get,list,patch,update,watch batch jobs
  update batch cronjobs/status
  update batch cronjobs/finalizers
  delete,list,watch core pods
  create,patch,update core,events.k8s.io events
clusterrole system:controller:daemon-set-controller
  READ apps,extensions daemonsets
  update apps,extensions daemonsets/status
  update apps,extensions daemonsets/finalizers
  list,watch core nodes
  create,delete,list,patch,watch core pods
  create core pods/binding
  create,delete,get,list,patch,update,watch apps controllerrevisions
  create,patch,update core,events.k8s.io events
clusterrole system:controller:deployment-controller
  get,list,update,watch apps,extensions deployments
  update apps,extensions deployments/status
  update apps,extensions deployments/finalizers
  create,delete,get,list,patch,update,watch apps,extensions replicasets
  get,list,update,watch core pods
  create,patch,update core,events.k8s.io events
clusterrole system:controller:device-taint-eviction-controller
  delete,READ core pods
  patch,update core pods/status
  READ resource.k8s.io resourceclaims
  READ resource.k8s.io resourceslices
  READ resource.k8s.io deviceclasses
  create,patch,update core,events.k8s.io events
clusterrole system:controller:disruption-controller
  READ apps,extensions deployments
  READ apps,extensions replicasets
  READ core replicationcontrollers
  READ policy poddisruptionbudgets
  READ apps statefulsets
  update policy poddisruptionbudgets/status
  patch,update core pods/status
  get * */scale
  create,patch,update core,events.k8s.io events
clusterrole system:controller:endpoint-controller
  READ core pods,services
  create,delete,get,list,update,watch core endpoints
  create core endpoints/restricted
  create,patch,update core,events.k8s.io events
clusterrole system:controller:endpointslice-controller
  READ core nodes,pods,services
  update core services/finalizers
  create,delete,get,list,update,watch discovery.k8s.io endpointslices
  create,patch,update core,events.k8s.io events
clusterrole system:controller:endpointslicemirroring-controller
  READ core endpoints,services
  update core services/finalizers
  update core endpoints/finalizers
  create,delete,get,list,update,watch discovery.k8s.io endpointslices
  create,patch,update core,events.k8s.io events
clusterrole system:controller:ephemeral-volume-controller
  READ core pods
  update core pods/finalizers
  create,READ core persistentvolumeclaims
  create,patch,update core,events.k8s.io events
clusterrole system:controller:expand-controller
  get,list,patch,update,watch core persistentvolumes
  patch,update core persistentvolumeclaims/status
  READ core persistentvolumeclaims
  create,patch,update core,events.k8s.io events
clusterrole system:controller:generic-garbage-collector
  delete,get,list,patch,update,watch * *
  create,patch,update core,events.k8s.io events
clusterrole system:controller:horizontal-pod-autoscaler
  READ autoscaling horizontalpodautoscalers
  update autoscaling horizontalpodautoscalers/status
  get,update * */scale
  list,watch core pods
  list,watch metrics.k8s.io pods
  READ custom.metrics.k8s.io *
  READ external.metrics.k8s.io *
  create,patch,update core,events.k8s.io events
clusterrole system:controller:job-controller
  get,list,patch,update,watch batch jobs
  update batch jobs/status
  update batch jobs/finalizers
  create,delete,list,patch,watch core pods
  create,patch,update core,events.k8s.io events
clusterrole system:controller:legacy-service-account-token-cleaner
  get core configmaps kube-apiserver-legacy-service-account-token-tracking
  delete,patch core secrets
clusterrole system:controller:namespace-controller
  delete,READ core namespaces
  update core namespaces/finalize,namespaces/status
  delete,deletecollection,READ * *
clusterrole system:controller:node-controller
  delete,get,list,patch,update,watch core nodes
  patch,update core nodes/status
  patch,update core pods/status
  delete,READ core pods
  create,patch,update core,events.k8s.io events
clusterrole system:controller:persistent-volume-binder
  create,delete,get,list,update,watch core persistentvolumes
  update core persistentvolumes/status
  get,list,update,watch core persistentvolumeclaims
  update core persistentvolumeclaims/status
  create,delete,READ core pods
  READ storage.k8s.io storageclasses
  list,watch core nodes
  create,patch,update core,events.k8s.io events
  watch core events
clusterrole system:controller:pod-garbage-collector
  delete,list,watch core pods
  READ core nodes
  patch core pods/status
clusterrole system:controller:pv-protection-controller
  get,list,update,watch core persistentvolumes
  create,patch,update core,events.k8s.io events
clusterrole system:controller:pvc-protection-controller
  get,list,update,watch core persistentvolumeclaims
  update core persistentvolumeclaims/status
  READ core pods
  create,patch,update core,events.k8s.io events
clusterrole system:controller:replicaset-controller
  get,list,update,watch apps,extensions replicasets
  update apps,extensions replicasets/status
  update apps,extensions replicasets/finalizers
  create,delete,list,patch,watch core pods
  create,patch,update core,events.k8s.io events
clusterrole system:controller:replication-controller
  get,list,update,watch core replicationcontrollers
  update core replicationcontrollers/status
  update core replicationcontrollers/finalizers
  create,delete,list,patch,watch core pods
  create,patch,update core,events.k8s.io events
clusterrole system:controller:resource-claim-controller
  READ core pods
  update core pods/finalizers
  create,delete,READ resource.k8s.io resourceclaims
  patch,update resource.k8s.io resourceclaims,resourceclaims/status
  patch,update core pods/status
  create,patch,update core,events.k8s.io events
  patch,update resource.k8s.io resourceclaims/binding
clusterrole system:controller:resourcequota-controller
  list,watch * *
  update core resourcequotas/status
  create,patch,update core,events.k8s.io events
clusterrole system:controller:root-ca-cert-publisher
  create,update core configmaps
  create,patch,update core,events.k8s.io events
clusterrole system:controller:route-controller
  list,watch core nodes
  patch core nodes/status
  create,patch,update core,events.k8s.io events
clusterrole system:controller:selinux-warning-controller
  create,patch,update core,events.k8s.io events
  READ core persistentvolumes
  READ core persistentvolumeclaims
  READ core pods
  READ storage.k8s.io csidrivers
clusterrole system:controller:service-account-controller
  create core serviceaccounts
  create,patch,update core,events.k8s.io events
clusterrole system:controller:service-cidrs-controller
  get,list,patch,update,watch networking.k8s.io servicecidrs
  patch,update networking.k8s.io servicecidrs/finalizers
  patch,update networking.k8s.io servicecidrs/status
  READ networking.k8s.io ipaddresses
  create,patch,update core,events.k8s.io events
clusterrole system:controller:service-controller
  READ core services
  patch,update core services/status
  list,watch core nodes
  create,patch,update core,events.k8s.io events
clusterrole system:controller:statefulset-controller
  list,watch core pods
  READ apps statefulsets
  update apps statefulsets/status
  update apps statefulsets/finalizers
  create,delete,get,patch,update core pods
  create,delete,get,list,patch,update,watch apps controllerrevisions
  create,READ core persistentvolumeclaims
  delete,update core persistentvolumeclaims
  update core pods/finalizers
  create,patch,update core,events.k8s.io events
clusterrole system:controller:ttl-after-finished-controller
  delete,READ batch jobs
  create,patch,update core,events.k8s.io events
clusterrole system:controller:ttl-controller
  list,patch,update,watch core nodes
  create,patch,update core,events.k8s.io events
clusterrole system:controller:validatingadmissionpolicy-status-controller
  READ admissionregistration.k8s.io validatingadmissionpolicies
  get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status
  create,patch,update core,events.k8s.io events
clusterrole system:controller:volumeattributesclass-protection-controller
  READ core persistentvolumeclaims
  READ core persistentvolumes
  get,list,update,watch storage.k8s.io volumeattributesclasses
  create,patch,update core,events.k8s.io events
role kube-public system:controller:bootstrap-signer
  READ core configmaps
  update core configmaps cluster-info
  create,patch,update core,events.k8s.io events
role kube-system extension-apiserver-authentication-reader
  READ core configmaps extension-apiserver-authentication
role kube-system system::leader-locking-kube-controller-manager
  create,get,list,update,watch coordination.k8s.io leases
  create,get,list,update,watch coordination.k8s.io leasecandidates
role kube-system system::leader-locking-kube-scheduler
  create,get,list,update,watch coordination.k8s.io leases
  create,get,list,update,watch coordination.k8s.io leasecandidates
role kube-system system:controller:bootstrap-signer
  READ core secrets
role kube-system system:controller:cloud-provider
  create,READ core configmaps
role kube-system system:controller:token-cleaner
  delete,READ core secrets
  create,patch,update core,events.k8s.io events
clusterrolebinding cluster-admin clusterrole:cluster-admin group:system:masters
clusterrolebinding system:basic-user clusterrole:system:basic-user group:system:authenticated
clusterrolebinding system:discovery clusterrole:system:discovery group:system:authenticated
clusterrolebinding system:kube-controller-manager clusterrole:system:kube-controller-manager user:system:kube-controller-manager
clusterrolebinding system:kube-dns clusterrole:system:kube-dns account:kube-system/kube-dns
clusterrolebinding system:kube-scheduler clusterrole:system:kube-scheduler user:system:kube-scheduler
clusterrolebinding system:monitoring clusterrole:system:monitoring group:system:monitoring
clusterrolebinding system:node clusterrole:system:node
clusterrolebinding system:node-proxier clusterrole:system:node-proxier user:system:kube-proxy
clusterrolebinding system:public-info-viewer clusterrole:system:public-info-viewer group:system:authenticated group:system:unauthenticated
clusterrolebinding system:service-account-issuer-discovery clusterrole:system:service-account-issuer-discovery group:system:serviceaccounts
clusterrolebinding system:coredns clusterrole:system:coredns account:kube-system/coredns
clusterrolebinding system:kube-proxy clusterrole:system:node-proxier account:kube-system/kube-proxy
clusterrolebinding system:volume-scheduler clusterrole:system:volume-scheduler user:system:kube-scheduler
clusterrolebinding system:controller:attachdetach-controller clusterrole:system:controller:attachdetach-controller account:kube-system/attachdetach-controller
clusterrolebinding system:controller:certificate-controller clusterrole:system:controller:certificate-controller account:kube-system/certificate-controller
clusterrolebinding system:controller:clusterrole-aggregation-controller clusterrole:system:controller:clusterrole-aggregation-controller account:kube-system/clusterrole-aggregation-controller
clusterrolebinding system:controller:cronjob-controller clusterrole:system:controller:cronjob-controller account:kube-system/cronjob-controller
clusterrolebinding system:controller:daemon-set-controller clusterrole:system:controller:daemon-set-controller account:kube-system/daemon-set-controller
clusterrolebinding system:controller:deployment-controller clusterrole:system:controller:deployment-controller account:kube-system/deployment-controller
clusterrolebinding system:controller:device-taint-eviction-controller clusterrole:system:controller:device-taint-eviction-controller account:kube-system/device-taint-eviction-controller
clusterrolebinding system:controller:disruption-controller clusterrole:system:controller:disruption-controller account:kube-system/disruption-controller
clusterrolebinding system:controller:endpoint-controller clusterrole:system:controller:endpoint-controller account:kube-system/endpoint-controller
clusterrolebinding system:controller:endpointslice-controller clusterrole:system:controller:endpointslice-controller account:kube-system/endpointslice-controller
clusterrolebinding system:controller:endpointslicemirroring-controller clusterrole:system:controller:endpointslicemirroring-controller account:kube-system/endpointslicemirroring-controller
clusterrolebinding system:controller:ephemeral-volume-controller clusterrole:system:controller:ephemeral-volume-controller account:kube-system/ephemeral-volume-controller
clusterrolebinding system:controller:expand-controller clusterrole:system:controller:expand-controller account:kube-system/expand-controller
clusterrolebinding system:controller:generic-garbage-collector clusterrole:system:controller:generic-garbage-collector account:kube-system/generic-garbage-collector
clusterrolebinding system:controller:horizontal-pod-autoscaler clusterrole:system:controller:horizontal-pod-autoscaler account:kube-system/horizontal-pod-autoscaler
clusterrolebinding system:controller:job-controller clusterrole:system:controller:job-controller account:kube-system/job-controller
clusterrolebinding system:controller:legacy-service-account-token-cleaner clusterrole:system:controller:legacy-service-account-token-cleaner account:kube-system/legacy-service-account-token-cleaner
clusterrolebinding system:controller:namespace-controller clusterrole:system:controller:namespace-controller account:kube-system/namespace-controller
clusterrolebinding system:controller:node-controller clusterrole:system:controller:node-controller account:kube-system/node-controller
clusterrolebinding system:controller:persistent-volume-binder clusterrole:system:controller:persistent-volume-binder account:kube-system/persistent-volume-binder
clusterrolebinding system:controller:pod-garbage-collector clusterrole:system:controller:pod-garbage-collector account:kube-system/pod-garbage-collector
clusterrolebinding system:controller:pv-protection-controller clusterrole:system:controller:pv-protection-controller account:kube-system/pv-protection-controller
clusterrolebinding system:controller:pvc-protection-controller clusterrole:system:controller:pvc-protection-controller account:kube-system/pvc-protection-controller
clusterrolebinding system:controller:replicaset-controller clusterrole:system:controller:replicaset-controller account:kube-system/replicaset-controller
clusterrolebinding system:controller:replication-controller clusterrole:system:controller:replication-controller account:kube-system/replication-controller
clusterrolebinding system:controller:resource-claim-controller clusterrole:system:controller:resource-claim-controller account:kube-system/resource-claim-controller
clusterrolebinding system:controller:resourcequota-controller clusterrole:system:controller:resourcequota-controller account:kube-system/resourcequota-controller
clusterrolebinding system:controller:root-ca-cert-publisher clusterrole:system:controller:root-ca-cert-publisher account:kube-system/root-ca-cert-publisher
clusterrolebinding system:controller:route-controller clusterrole:system:controller:route-controller account:kube-system/route-controller
clusterrolebinding system:controller:selinux-warning-controller clusterrole:system:controller:selinux-warning-controller account:kube-system/selinux-warning-controller
clusterrolebinding system:controller:service-account-controller clusterrole:system:controller:service-account-controller account:kube-system/service-account-controller
clusterrolebinding system:controller:service-cidrs-controller clusterrole:system:controller:service-cidrs-controller account:kube-system/service-cidrs-controller
clusterrolebinding system:controller:service-controller clusterrole:system:controller:service-controller account:kube-system/service-controller
clusterrolebinding system:controller:statefulset-controller clusterrole:system:controller:statefulset-controller account:kube-system/statefulset-controller
clusterrolebinding system:controller:ttl-after-finished-controller clusterrole:system:controller:ttl-after-finished-controller account:kube-system/ttl-after-finished-controller
clusterrolebinding system:controller:ttl-controller clusterrole:system:controller:ttl-controller account:kube-system/ttl-controller
clusterrolebinding system:controller:validatingadmissionpolicy-status-controller clusterrole:system:controller:validatingadmissionpolicy-status-controller account:kube-system/validatingadmissionpolicy-status-controller
clusterrolebinding system:controller:volumeattributesclass-protection-controller clusterrole:system:controller:volumeattributesclass-protection-controller account:kube-system/volumeattributesclass-protection-controller
rolebinding kube-public system:controller:bootstrap-signer role:system:controller:bootstrap-signer account:kube-system/bootstrap-signer
rolebinding kube-system system::extension-apiserver-authentication-reader role:extension-apiserver-authentication-reader user:system:kube-controller-manager user:system:kube-scheduler
rolebinding kube-system system::leader-locking-kube-controller-manager role:system::leader-locking-kube-controller-manager user:system:kube-controller-manager account:kube-system/kube-controller-manager account:kube-system/leader-election-controller
rolebinding kube-system system::leader-locking-kube-scheduler role:system::leader-locking-kube-scheduler user:system:kube-scheduler account:kube-system/kube-scheduler
rolebinding kube-system system:controller:bootstrap-signer role:system:controller:bootstrap-signer account:kube-system/bootstrap-signer
rolebinding kube-system system:controller:cloud-provider role:system:controller:cloud-provider account:kube-system/cloud-provider
rolebinding kube-system system:controller:token-cleaner role:system:controller:token-cleaner account:kube-system/token-cleaner
`;
