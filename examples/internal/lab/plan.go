package lab

import "net/netip"

// The addresses of the fabric. They exist only inside the run's namespaces.
// External ones are the documentation ranges of RFC 5737.
var (
	managerAddr = netip.MustParseAddrPort("10.255.0.1:7443")
	mgmtBits    = 24

	routerUp   = netip.MustParsePrefix("192.0.2.1/24") // router, towards the edge
	edgeUp     = netip.MustParsePrefix("192.0.2.2/24")
	routerExt  = netip.MustParsePrefix("198.51.100.1/24") // router, towards outside
	external   = netip.MustParsePrefix("198.51.100.2/24")
	poolSNAT   = netip.MustParsePrefix("203.0.113.0/28")  // one address a NAT namespace
	poolLB     = netip.MustParsePrefix("203.0.113.16/28") // LoadBalancer addresses
	blockNAT   = netip.MustParsePrefix("10.4.0.0/16")
	blockRoute = netip.MustParsePrefix("10.8.0.0/16") // for namespaces without SNAT
)

// A machine is a namespace of the fabric with an address on the management network.
type machine struct {
	name string
	mgmt netip.Addr
	// tep is the tunnel endpoint of a host or an edge.
	tep netip.Addr
	// host is where a node's vNIC is plugged in.
	host string
}

var (
	mgr      = machine{name: "mgr", mgmt: netip.MustParseAddr("10.255.0.1")}
	hosts    = []machine{{name: "h1", mgmt: netip.MustParseAddr("10.255.0.11"), tep: netip.MustParseAddr("10.254.0.1")}, {name: "h2", mgmt: netip.MustParseAddr("10.255.0.12"), tep: netip.MustParseAddr("10.254.0.2")}}
	edgeNode = machine{name: "edge", mgmt: netip.MustParseAddr("10.255.0.31"), tep: netip.MustParseAddr("10.254.0.3")}
	nodes    = []machine{
		{name: "n1", mgmt: netip.MustParseAddr("10.255.0.21"), host: "h1"},
		{name: "n2", mgmt: netip.MustParseAddr("10.255.0.22"), host: "h1"},
		{name: "n3", mgmt: netip.MustParseAddr("10.255.0.23"), host: "h2"},
	}
)

const (
	clusterName = "lab"
	bridge      = "br-int"
	underlayBr  = "br-ul"
	nodeUplink  = "eth1"
	edgeUplink  = "up0"
	tepBits     = 24
	podMTU      = 1450
	transitVNI  = 100
	// quarantine is how long a released lease is held back.
	quarantine = "2s"
)

// vnic names the host's end of a node's trunk vNIC; it is also its iface-id.
func vnic(node string) string { return "vnic-" + node }
