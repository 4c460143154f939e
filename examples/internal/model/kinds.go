package model

import (
	"net/netip"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/topology"
)

// Kinds of intent: resource_type of an object in the manager's store.
const (
	KindTier0           = "Tier0"
	KindTier1           = "Tier1"
	KindSegment         = "Segment"
	KindSegmentPort     = "SegmentPort"
	KindNATRule         = "PolicyNatRule"
	KindHost            = "HostTransportNode"
	KindBlock           = "IpAddressBlock"
	KindPool            = "IpAddressPool"
	KindGroup           = "Group"
	KindSection         = "SecurityPolicy"
	KindVirtualServer   = "LBVirtualServer"
	KindHostAttachments = "HostAttachments"
	KindClusterNode     = "ClusterNode"
)

// Kinds of a host's span, derived from intent by the manager.
const (
	KindSpanSegment       = "SpanSegment"
	KindSpanPort          = "SpanPort"
	KindSpanNeighbor      = "SpanNeighbor"
	KindSpanTEP           = "SpanTEP"
	KindSpanEdge          = "SpanEdge"
	KindSpanPolicy        = "SpanPolicy"
	KindSpanRule          = "SpanRule"
	KindSpanSet           = "SpanSet"
	KindSpanNAT           = "SpanNAT"
	KindSpanVirtualServer = "SpanVirtualServer"
)

// KindRealizedPort is the kind of an entry in the realized state: one for
// each segment port that a host has put into its switch with its rules.
const KindRealizedPort = "RealizedPort"

// Tag scopes that NCP writes and finds its objects by. The prefix "ncp" is
// the default of [Scopes].
type Scopes struct {
	Cluster    string // cluster that owns the object
	CreatedFor string // reconcile key that the object was made for
	Project    string // namespace name
	ProjectUID string
	Pod        string
	NodeName   string
	NoSNAT     string
	External   string
	Shared     string // pool usable by every cluster
	Owner      string
}

// DefaultScopes returns the tag names an NCP user knows.
func DefaultScopes() Scopes { return NewScopes("ncp") }

// NewScopes returns the tag names under prefix.
func NewScopes(prefix string) Scopes {
	s := func(name string) string { return prefix + "/" + name }
	return Scopes{
		Cluster: s("cluster"), CreatedFor: s("created_for"), Project: s("project"), ProjectUID: s("project_uid"),
		Pod: s("pod"), NodeName: s("node_name"), NoSNAT: s("no_snat"), External: s("external"),
		Shared: s("shared_resource"), Owner: s("owner"),
	}
}

// A Block is address space from which namespaces get their subnets.
type Block struct {
	CIDRs []netip.Prefix `json:"cidrs"`
}

// A Pool is a set of addresses that are given one at a time: SNAT and load
// balancer addresses. Ranges are inclusive, written "10.0.0.5-10.0.0.90".
type Pool struct {
	CIDRs    []netip.Prefix `json:"cidrs,omitempty"`
	Ranges   []string       `json:"ranges,omitempty"`
	Excluded []netip.Addr   `json:"excluded,omitempty"`
}

// Config returns what the pool leases from.
func (p Pool) Config() (ipam.AddressConfig, error) {
	cfg := ipam.AddressConfig{Prefixes: p.CIDRs, Exclude: p.Excluded}
	for _, s := range p.Ranges {
		r, err := ipam.ParseRange(s)
		if err != nil {
			return cfg, err
		}
		cfg.Ranges = append(cfg.Ranges, r)
	}
	return cfg, nil
}

// A VirtualServer is a load balancer address with its ports and members.
type VirtualServer struct {
	Address netip.Addr          `json:"ip_address"`
	Gateway string              `json:"gateway_path"` // tier-0 id
	Ports   []VirtualServerPort `json:"ports"`
}

// A VirtualServerPort is one port of a [VirtualServer].
type VirtualServerPort struct {
	Protocol uint8            `json:"protocol"` // IANA protocol number
	Port     uint16           `json:"port"`
	Members  []netip.AddrPort `json:"members"`
}

// A ClusterNode is a node of a cluster as a peer in rules. Its tags are its labels.
type ClusterNode struct {
	Addresses []netip.Addr `json:"ip_addresses,omitempty"`
}

// HostAttachments are the interface ids (external_ids:iface-id) that a host's
// switch holds: where each parent port and each directly attached port lives.
type HostAttachments struct {
	IfaceIDs []string `json:"iface_ids"`
}

// RealizedPort says that a port is in its host's switch, with its rules.
type RealizedPort struct {
	Host string `json:"host"`
	// Revision is the intent revision of the port that is realized.
	Revision uint64 `json:"realized_revision"`
	// Error is why the port could not be realized, empty if it is.
	Error string `json:"error,omitempty"`
}

// A SpanPolicy holds what the span's rules share.
type SpanPolicy struct {
	Default policy.Action `json:"default"`
}

// A SpanRule is a rule of the span's program.
type SpanRule struct {
	Rule policy.ProgramRule `json:"rule"`
}

// A SpanSet is an address set that the span's rules refer to.
type SpanSet struct {
	Prefixes []netip.Prefix `json:"prefixes"`
}

// The other topology kinds are stored as they are.
type (
	Tier0   = topology.Tier0
	Tier1   = topology.Tier1
	Segment = topology.Segment
	NATRule = topology.NATRule
	Host    = topology.Host
)

// A Port is a segment port with what rules need to know of it besides tags.
type Port struct {
	topology.Port
	NamedPorts []NamedPort `json:"named_ports,omitempty"`
}

// A NamedPort is a port of a workload that rules may refer to by name.
type NamedPort struct {
	Name     string `json:"name"`
	Protocol uint8  `json:"protocol"` // IANA protocol number
	Port     uint16 `json:"port"`
}

// Namespace names a cluster's namespace among those of all clusters.
func Namespace(cluster, name string) string { return cluster + "/" + name }
