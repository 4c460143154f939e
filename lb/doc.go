// Package lb works out layer 4 load balancing: services and their endpoints go
// in, the frontends that a dataplane has to offer and the backends behind each
// come out.
//
// A [Service] owns virtual addresses (cluster IPs, external IPs) and ports; an
// [Endpoint] is one address and port that serves one port of a service, with
// its conditions. A [Table] holds both for one point of view ([Config]: which
// node, seen from inside or from outside of the cluster) and turns them into
// [Frontend] values, one per virtual address, protocol and port. The choice of
// backends follows the Kubernetes service API: internal and external traffic
// policy, ready endpoints first, and, when there are none, those that still
// serve while they terminate.
//
//	table := lb.NewTable(lb.Config{Node: "n1"})
//	err := table.SetService(lb.Service{
//		ID:    "default/web",
//		VIPs:  []netip.Addr{netip.MustParseAddr("10.96.0.10")},
//		Ports: []lb.ServicePort{{Protocol: lb.TCP, Port: 80}},
//	})
//	err = table.SetEndpoints("default/web", endpoints)
//	before, after := before, table.State()
//	changes := lb.Diff(before, after)      // what to add, update and delete
//	flush := lb.Removals(before, after)    // whose conntrack entries must go
//
// Dataplanes are packages of their own: lb/lbovs (Open vSwitch groups and
// conntrack NAT) and lb/lbnft (nftables); lb/kube reads Kubernetes objects.
//
// # Concurrency
//
// A Table is safe for concurrent use. Everything else is a value or a pure
// function. Slices that are passed in are copied; slices that come out belong
// to the caller, but for the Backends of a Frontend, which are shared and must
// not be written to.
//
// # Errors
//
// Validation reports every fault at once, each naming the service and the
// field, and wraps [ErrInvalid]. Two services that claim the same frontend are
// no error: the one with the lower ID has it, and [Table.Conflicts] tells.
package lb
