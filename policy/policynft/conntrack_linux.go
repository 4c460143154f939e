package policynft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/policy"
)

// Messages and attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctNew = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1

	ctaTupleOrig, ctaTupleReply, ctaMark, ctaZone, ctaMarkMask = 1, 2, 8, 18, 21
	ctaTupleIP, ctaTupleProto                                  = 1, 2
	ctaIPv4Src, ctaIPv4Dst, ctaIPv6Src, ctaIPv6Dst             = 1, 2, 3, 4
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort              = 1, 2, 3
	ctaProtoICMPType, ctaProtoICMPCode                         = 5, 6
	ctaProtoICMPv6Type, ctaProtoICMPv6Code                     = 8, 9
)

// A connection is one that is tracked.
type connection struct {
	// first is its first packet as hook forward sees it: after translation of the
	// destination, before that of the source.
	first policy.Packet
	orig  []byte // attribute that names it
	zone  []byte // attribute, nil for zone 0
}

// parseConnection reads a message of ctnetlink without its header. What is not a connection of
// IP is an error.
func parseConnection(b []byte) (connection, error) {
	var c connection
	if len(b) < 4 {
		return c, fmt.Errorf("conntrack: message of %d bytes: %w", len(b), ErrInvalid)
	}
	attrs, err := netlink.UnmarshalAttributes(b[4:])
	if err != nil {
		return c, fmt.Errorf("conntrack: %w", err)
	}
	var reply policy.Packet
	for _, a := range attrs {
		switch a.Type &^ unix.NLA_F_NESTED {
		case ctaTupleOrig:
			c.orig = a.Data
			c.first, err = parseTuple(a.Data)
		case ctaTupleReply:
			reply, err = parseTuple(a.Data)
		case ctaZone:
			c.zone = a.Data
		}
		if err != nil {
			return c, fmt.Errorf("conntrack: %w", err)
		}
	}
	if !c.first.Src.IsValid() || !reply.Src.IsValid() || c.first.Src.Is4() != reply.Src.Is4() {
		return c, fmt.Errorf("conntrack: no addresses: %w", ErrInvalid)
	}
	c.first.Dst = reply.Src
	if policy.Protocol(c.first.Proto).HasPorts() {
		c.first.DstPortNo = reply.SrcPortNo
	}
	return c, nil
}

// parseTuple reads one direction of a connection.
func parseTuple(b []byte) (k policy.Packet, err error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return k, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case ctaTupleIP:
			ad.Nested(func(n *netlink.AttributeDecoder) error {
				for n.Next() {
					a, _ := netip.AddrFromSlice(n.Bytes())
					switch n.Type() {
					case ctaIPv4Src, ctaIPv6Src:
						k.Src = a
					case ctaIPv4Dst, ctaIPv6Dst:
						k.Dst = a
					}
				}
				return n.Err()
			})
		case ctaTupleProto:
			ad.Nested(func(n *netlink.AttributeDecoder) error {
				n.ByteOrder = binary.BigEndian
				for n.Next() {
					switch n.Type() {
					case ctaProtoNum:
						k.Proto = n.Uint8()
					case ctaProtoSrcPort:
						k.SrcPortNo = n.Uint16()
					case ctaProtoDstPort:
						k.DstPortNo = n.Uint16()
					case ctaProtoICMPType, ctaProtoICMPv6Type:
						k.ICMPType = n.Uint8()
					case ctaProtoICMPCode, ctaProtoICMPv6Code:
						k.ICMPCode = n.Uint8()
					}
				}
				return n.Err()
			})
		}
	}
	return k, ad.Err()
}

func attribute(typ uint16, v uint32) netlink.Attribute {
	return netlink.Attribute{Type: typ, Data: binary.BigEndian.AppendUint32(nil, v)}
}

// conntrack sends a message to ctnetlink and returns what comes.
func (k *kernel) conntrack(typ netlink.HeaderType, flags netlink.HeaderFlags, family uint8, attrs ...netlink.Attribute) ([]netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	return k.ct.Execute(netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | flags}, Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...)})
}

// forget clears the bit of an end in connections that the end has allowed, and that are to end.
func (k *kernel) forget(bit uint32, end func(first policy.Packet) bool) error {
	list, err := k.conntrack(ctGet, netlink.Dump, unix.AF_UNSPEC, attribute(ctaMark, bit), attribute(ctaMarkMask, bit))
	if err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	for _, m := range list {
		c, err := parseConnection(m.Data)
		if err != nil || !end(c.first) {
			continue // what is not of IP is none of ours
		}
		family := uint8(unix.AF_INET)
		if c.first.Src.Is6() {
			family = unix.AF_INET6
		}
		attrs := []netlink.Attribute{{Type: unix.NLA_F_NESTED | ctaTupleOrig, Data: c.orig}, attribute(ctaMark, 0), attribute(ctaMarkMask, bit)}
		if c.zone != nil {
			attrs = append(attrs, netlink.Attribute{Type: ctaZone, Data: c.zone})
		}
		if _, err := k.conntrack(ctNew, netlink.Acknowledge, family, attrs...); err != nil && !errors.Is(err, unix.ENOENT) { // it may have ended
			return fmt.Errorf("end connection %s -> %s: %w", c.first.Src, c.first.Dst, err)
		}
	}
	return nil
}
