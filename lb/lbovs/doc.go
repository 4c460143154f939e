// Package lbovs is the whole pipeline of a node's Open vSwitch: pods on one
// side, the trunk to the host on the other, and service load balancing by
// conntrack NAT in between.
//
// A pod hangs on an untagged port; on the uplink it is a VLAN id. The pipeline
// has six stages (tables, given by a [Layout]):
//
//	classify    which pod: source register = its VLAN, zone register = its ct zone
//	service-ct  ct(nat) in the pod's zone; established connections go on translated
//	affinity    learned: which backend the client had
//	service     VIP, protocol, port -> select group -> ct(commit,nat(dst=backend))
//	hairpin     a pod that got itself: SNAT to the hairpin address and back
//	mux         to the pod's port, or push the VLAN and out of the uplink
//
// Replies come in by the uplink with the client's VLAN, pass ct(nat) in its zone
// and have the VIP for their source again. Each pod has a zone of its own, since
// a packet between two pods of one node leaves by the uplink, is checked and
// routed by the host, and comes in again in the other pod's VLAN: there it must
// not be taken for part of the first pod's connection. The node rewrites no
// MAC but that of hairpin packets, and holds no policy: what goes to another
// pod has the client's own address and is the host's to check, and what a pod
// gets from itself never leaves the node.
//
//	flows, groups, err := lbovs.Flows(table.State(), pods, lbovs.Uplink{OFPort: 1}, lbovs.DefaultLayout())
//	err = bridge.Set("services", flows, groups) // a *ovs.Bridge
//	report, err := bridge.Sync(ctx)
//
// Flows is pure and deterministic: equal input gives equal output, in any order
// of frontends and pods. Group ids derive from the frontend and bucket ids from
// the backend, so a change of backends changes one group (and, with
// affinity, the flows of the backends that changed).
//
// Affinity counts from a client's last new connection. It is learned in
// flows of another cookie owner (Layout.LearnOwner), which a sync must leave
// alone; they name a backend by its bucket id and are followed only while
// the frontend has that backend, so a removed one is never used. OpenFlow limits
// the timeout to 65535 seconds.
//
// A cluster IP answers on its frontends only: everything else to it is
// dropped and counted, as are packets to a frontend without backends.
// Connections that a pod makes past the VIP are not tracked; should it use one
// source port both to a VIP and straight to the backend behind it at once, the
// two are one to conntrack.
//
// # Concurrency
//
// Everything here is a value or a pure function.
//
// # Errors
//
// All faults are reported at once, each naming the pod or frontend and wrapping
// [ErrInvalid]; nothing is returned with an error.
package lbovs
