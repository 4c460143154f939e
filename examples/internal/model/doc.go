// Package model names the kinds of object that the manager stores and those
// it derives for each host, and converts them to and from [intent.Object].
//
// Intent kinds carry the types of the library's packages with the field
// names of the public NSX Policy API; NCP and administrators write them:
//
//	Tier0 Tier1 Segment SegmentPort PolicyNatRule HostTransportNode
//	IpAddressBlock IpAddressPool Group SecurityPolicy LBVirtualServer
//	HostAttachments (written by host agents: the VIFs a host holds)
//
// Span kinds are what one host needs of them, worked out by the manager:
//
//	SpanSegment SpanPort SpanNeighbor SpanTEP SpanEdge SpanRule SpanSet
//	SpanNAT SpanVirtualServer
//
// Encode and Decode are pure and safe for concurrent use. Errors name the
// object and the fault.
package model
