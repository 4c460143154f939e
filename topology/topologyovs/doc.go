// Package topologyovs compiles what a host knows of a topology, its span, to
// flows of Open vSwitch: distributed ARP, switching and routing.
//
// It fills four stages of a pipeline; the others belong to whom the layout's
// table numbers say:
//
//	arp       answers ARP requests for gateways and known neighbours, and
//	          pings of a port's own gateway; IP goes on to egress-ct
//	l2        to a local port (ingress-ct), to another host (output), to
//	          every port of the segment, or to the router (l3)
//	l3        longest prefix among the tier-0's subnets (neighbor), or the
//	          default route to the edge (output)
//	neighbor  IP address to MAC address and place: ingress-ct or output
//
// Metadata holds the VNI of the segment that the packet is in; in l3 it holds
// the transit VNI of the tier-0, which names the routing domain, so that flows
// grow with segments and not with their square.
//
//	in, err := topologyovs.InputOf(span, keys)
//	flows, err := topologyovs.Flows(in, topologyovs.DefaultLayout())
//	err = bridge.Set("topology", flows, nil) // a *ovs.Bridge
//	report, err := bridge.Sync(ctx)
//
// What came by a tunnel only ever goes to local ports: hosts that disagree on
// where a port is cannot pass a packet to each other for ever.
//
// A flood sends copies by resubmitting the packet. The output stage must leave
// the packet as it was (push a VLAN tag, output, pop it again), or the next
// copy has what it did.
//
// On an edge only l2, l3 and neighbor have flows: what comes from the downlink
// with the router's MAC address is routed to the host of its destination, and
// ARP requests on the transit network are all answered with the router's.
//
// Concurrency: Flows is a pure function; flows come out sorted.
//
// Errors name the object and the field. Where two ports of a segment have one
// address, a local one wins, then the first by id; of two equal subnets in a
// tier-0, the first by id.
package topologyovs
