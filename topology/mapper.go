package topology

import (
	"context"
	"fmt"
	"net/netip"
)

// Subnets is where a [Mapper] takes the subnets of segments. Subnet returns
// the same prefix for the same owner.
type Subnets interface {
	Subnet(ctx context.Context, owner string, bits int) (netip.Prefix, error)
}

// SubnetsFunc makes a function a [Subnets].
type SubnetsFunc func(ctx context.Context, owner string, bits int) (netip.Prefix, error)

// Subnet calls f.
func (f SubnetsFunc) Subnet(ctx context.Context, owner string, bits int) (netip.Prefix, error) {
	return f(ctx, owner, bits)
}

// Addresses is where a [Mapper] takes addresses for SNAT. Address returns the
// same address for the same owner.
type Addresses interface {
	Address(ctx context.Context, owner string) (netip.Addr, error)
}

// AddressesFunc makes a function an [Addresses].
type AddressesFunc func(ctx context.Context, owner string) (netip.Addr, error)

// Address calls f.
func (f AddressesFunc) Address(ctx context.Context, owner string) (netip.Addr, error) {
	return f(ctx, owner)
}

// IDs is where a [Mapper] takes network identifiers. ID returns the same
// number for the same owner.
type IDs interface {
	ID(ctx context.Context, owner string) (uint32, error)
}

// IDsFunc makes a function an [IDs].
type IDsFunc func(ctx context.Context, owner string) (uint32, error)

// ID calls f.
func (f IDsFunc) ID(ctx context.Context, owner string) (uint32, error) { return f(ctx, owner) }

// DefaultBits is the length of a namespace's prefix unless it says another.
const DefaultBits = 24

// A Namespace is what a [Mapper] has to know of a namespace.
type Namespace struct {
	Cluster string // name of the cluster; ids begin with it
	Name    string
	UID     string // unique for ever
	Tier0   string // id of the tier-0 to connect to
	NoSNAT  bool   // pods keep their addresses outside of the network
	Bits    int    // length of the subnet's prefix, 0 means DefaultBits
	Owner   string // of the leases; empty means the id of the segment
	Tags    []Tag  // for all objects
}

// A Network is the objects of a namespace.
type Network struct {
	Segment  Segment
	Tier1    Tier1
	NATRules []NATRule
}

// A Mapper maps namespaces to networks: each gets a segment with a subnet of
// its own behind a tier-1 of its own and, unless NoSNAT, an address that its
// pods are translated to. Fields must be set, but for SNAT when it only maps
// namespaces with NoSNAT.
type Mapper struct {
	Subnets Subnets
	SNAT    Addresses
	VNIs    IDs
}

// Namespace returns the objects of a namespace. Their ids are the cluster,
// "ns" and the UID; the gateway is the first host address of the subnet. The
// mapping is a function of n and of what the allocators answer.
func (m Mapper) Namespace(ctx context.Context, n Namespace) (Network, error) {
	fail := func(err error) (Network, error) {
		return Network{}, fmt.Errorf("topology: network for namespace %q: %w", n.Name, err)
	}
	if err := n.validate(); err != nil {
		return fail(err)
	}
	if m.Subnets == nil || m.VNIs == nil || m.SNAT == nil && !n.NoSNAT {
		return fail(fmt.Errorf("mapper lacks an allocator: %w", ErrInvalid))
	}
	id := NamespaceID(n.Cluster, n.UID)
	owner, bits := n.Owner, n.Bits
	if owner == "" {
		owner = id
	}
	if bits == 0 {
		bits = DefaultBits
	}
	subnet, err := m.Subnets.Subnet(ctx, owner, bits)
	if err != nil {
		return fail(fmt.Errorf("subnet: %w", err))
	}
	gateway, err := GatewayOf(subnet)
	if err != nil {
		return fail(err)
	}
	vni, err := m.VNIs.ID(ctx, owner)
	if err != nil {
		return fail(fmt.Errorf("vni: %w", err))
	}
	name := n.Cluster + "-" + n.Name
	net := Network{
		Tier1:   Tier1{ID: id, DisplayName: name, Tags: n.Tags, Tier0: n.Tier0},
		Segment: Segment{ID: id, DisplayName: name, Tags: n.Tags, Tier1: id, VNI: vni, Subnets: []Subnet{{Gateway: gateway}}},
	}
	if err := net.Segment.validate(); err != nil {
		return fail(err)
	}
	if n.NoSNAT {
		return net, nil
	}
	addr, err := m.SNAT.Address(ctx, owner)
	if err != nil {
		return fail(fmt.Errorf("snat address: %w", err))
	}
	rule := NATRule{
		ID: id + "-snat", DisplayName: name, Tags: n.Tags, Gateway: n.Tier0,
		Action: SNAT, Source: subnet.Masked(), Translated: addr,
	}
	if err := rule.validate(); err != nil {
		return fail(err)
	}
	net.NATRules = []NATRule{rule}
	return net, nil
}

// NamespaceID returns the id of a namespace's segment and tier-1.
func NamespaceID(cluster, uid string) string { return cluster + "-ns-" + uid }

// GatewayOf returns the first host address of a subnet with the subnet's
// length: 10.4.1.1/24 for 10.4.1.0/24. The subnet has room for a gateway and
// a host: an IPv4 /30 or larger, an IPv6 /126 or larger.
func GatewayOf(subnet netip.Prefix) (netip.Prefix, error) {
	if !subnet.IsValid() || subnet.Bits() > subnet.Addr().BitLen()-2 {
		return netip.Prefix{}, fmt.Errorf("subnet %v has no room for a gateway and a host: %w", subnet, ErrInvalid)
	}
	return netip.PrefixFrom(subnet.Masked().Addr().Next(), subnet.Bits()), nil
}
