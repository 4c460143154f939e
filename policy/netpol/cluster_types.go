package netpol

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The API that a [ClusterNetworkPolicy] belongs to.
const (
	ClusterAPIVersion = "policy.networking.k8s.io/v1alpha2"
	ClusterKind       = "ClusterNetworkPolicy"
	ClusterResource   = "clusternetworkpolicies"
)

// A ClusterNetworkPolicy is the object of that name of
// policy.networking.k8s.io/v1alpha2, with its JSON: a cluster-wide policy that
// comes before or after NetworkPolicies.
type ClusterNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ClusterSpec `json:"spec"`
	// Status belongs to the API server and its clients; it is not read.
	Status ClusterStatus `json:"status,omitzero"`
}

// A ClusterSpec says which traffic of which pods a policy decides about. Each
// direction has at most 25 rules, tried in order; without rules the policy
// is not about the direction.
type ClusterSpec struct {
	Tier Tier `json:"tier"`
	// Priority is the place in the tier, 0 to 1000, lowest first.
	Priority int32                `json:"priority"`
	Subject  ClusterSubject       `json:"subject"`
	Ingress  []ClusterIngressRule `json:"ingress,omitempty"`
	Egress   []ClusterEgressRule  `json:"egress,omitempty"`
}

// ClusterStatus is what implementations report.
type ClusterStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// A Tier is a class of policies.
type Tier string

// Tiers: NetworkPolicies lie between them.
const (
	AdminTier    Tier = "Admin"
	BaselineTier Tier = "Baseline"
)

// A ClusterAction is what a rule does.
type ClusterAction string

// Actions.
const (
	Accept ClusterAction = "Accept"
	Deny   ClusterAction = "Deny"
	// Pass goes on with the next tier.
	Pass ClusterAction = "Pass"
)

// A ClusterSubject selects pods that have a network of their own; exactly one
// field is set.
type ClusterSubject struct {
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	Pods       *NamespacedPod        `json:"pods,omitempty"`
}

// A NamespacedPod selects pods by namespace and pod; an empty selector selects all.
type NamespacedPod struct {
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	PodSelector       metav1.LabelSelector `json:"podSelector"`
}

// A ClusterIngressRule decides about traffic to the subject.
type ClusterIngressRule struct {
	Name      string               `json:"name,omitempty"` // at most 100 bytes
	Action    ClusterAction        `json:"action"`
	From      []ClusterIngressPeer `json:"from"`                // 1 to 25, any of which fits
	Protocols []ClusterProtocol    `json:"protocols,omitempty"` // missing is all, else 1 to 25
}

// A ClusterEgressRule decides about traffic from the subject.
type ClusterEgressRule struct {
	Name      string              `json:"name,omitempty"`
	Action    ClusterAction       `json:"action"`
	To        []ClusterEgressPeer `json:"to"`
	Protocols []ClusterProtocol   `json:"protocols,omitempty"`
}

// A ClusterIngressPeer is a source; exactly one field is set.
type ClusterIngressPeer struct {
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	Pods       *NamespacedPod        `json:"pods,omitempty"`
}

// A ClusterEgressPeer is a destination; exactly one field is set.
type ClusterEgressPeer struct {
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	Pods       *NamespacedPod        `json:"pods,omitempty"`
	// Nodes are the addresses of nodes by the nodes' labels.
	Nodes *metav1.LabelSelector `json:"nodes,omitempty"`
	// Networks are 1 to 25 CIDRs, of which addresses of pods may be part.
	Networks []string `json:"networks,omitempty"`
	// DomainNames are not supported: see [UnsupportedError].
	DomainNames []string `json:"domainNames,omitempty"`
}

// A ClusterProtocol is a kind of traffic; exactly one field is set.
type ClusterProtocol struct {
	TCP  *DestinationPort `json:"tcp,omitempty"`
	UDP  *DestinationPort `json:"udp,omitempty"`
	SCTP *DestinationPort `json:"sctp,omitempty"`
	// DestinationNamedPort is the name of a port of a pod, in any protocol. It does
	// not go with peers that are no pods.
	DestinationNamedPort string `json:"destinationNamedPort,omitempty"`
}

// A DestinationPort is what a protocol is narrowed to.
type DestinationPort struct {
	DestinationPort *Port `json:"destinationPort,omitempty"`
}

// A Port is a number from 1 to 65535, or a range.
type Port struct {
	Number int32      `json:"number,omitempty"`
	Range  *PortRange `json:"range,omitempty"`
}

// A PortRange includes both ends; Start is less than End.
type PortRange struct {
	Start int32 `json:"start"`
	End   int32 `json:"end"`
}
