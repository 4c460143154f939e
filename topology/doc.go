// Package topology is a logical network: tier-0 and tier-1 routers, segments,
// ports with their attachments, NAT rules and hosts. It maps a namespace to
// such objects and works out which of them each host needs.
//
// The model, with JSON field names of the public NSX Policy API:
//
//	Tier0 ── Tier1 ── Segment ── Port ── Attachment: PARENT (a node's vNIC),
//	  │                                  CHILD (a VLAN id behind a PARENT),
//	  NATRule, on the edge Host          INDEPENDENT (a VIF of its own)
//
// Objects refer to each other by id. A [Mapper] makes the objects of a
// namespace with addresses and ids that it is given; the same namespace always
// maps to the same objects. A [Model] is everything at once, and its Span is
// what one host has to know of it:
//
//	network, err := topology.Mapper{Subnets: blocks, SNAT: pool, VNIs: ids}.Namespace(ctx, ns)
//	span, err := topology.Model{Tier0s: …, Segments: …, Ports: …, Hosts: …}.Span("host-1")
//
// Every segment of a tier-0 is routed on every host (distributed routing);
// what leaves the tier-0 goes to its edge over the transit network.
//
// Concurrency: values are plain data. Functions and methods do not write to
// their arguments, and may be called at once. A Mapper may be used by many
// goroutines if its allocators may.
//
// Errors: invalid objects are [ErrInvalid], a host that is not in the model is
// [ErrNotFound]. Validation reports every fault, each with the object and the
// field. Errors of allocators are wrapped with the namespace.
package topology
