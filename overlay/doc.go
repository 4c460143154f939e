// Package overlay has the vocabulary of an overlay network: virtual network
// identifiers, the GENEVE header (RFC 8926), who lives behind which tunnel
// endpoint, the VLANs of a trunk, and what encapsulation costs of the MTU.
//
//	h := overlay.Header{VNI: 4096, Protocol: overlay.ProtocolEthernet}
//	packet, err := h.Append(nil)           // then the inner frame
//	h, frame, err := overlay.Parse(packet) // and back
//
// Concurrency: VNI, Header and the functions are pure. TEPTable and Trunk
// are not safe for concurrent use.
//
// Errors: [ErrInvalid] for a value out of its bounds, naming value and bounds;
// [ErrMalformed] for bytes that are no GENEVE packet; [ErrExhausted] and
// [ErrInUse] of a trunk's VLAN ids.
package overlay
