package topologynft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Bits of conntrack (linux/netfilter/nf_conntrack_common.h, nf_tables.h).
const (
	ctEstablished = 1 << 1
	ctRelated     = 1 << 2
	statusDNAT    = 1 << 5
)

// place returns where an address is in its header (RFC 791, 3.1; RFC 8200, 3).
func place(is6, dst bool) (offset, size uint32) {
	switch {
	case is6 && dst:
		return 24, 16
	case is6:
		return 8, 16
	case dst:
		return 16, 4
	}
	return 12, 4
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// exprs returns the rule as the kernel's expressions.
func (r rule) exprs() []expr.Any {
	var out []expr.Any
	equal := func(data []byte, load ...expr.Any) {
		out = append(append(out, load...), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data})
	}
	name := func(key expr.MetaKey, iface string) {
		if iface != "" {
			data := make([]byte, unix.IFNAMSIZ)
			copy(data, iface)
			equal(data, &expr.Meta{Key: key, Register: 1})
		}
	}
	name(expr.MetaKeyIIFNAME, r.iif)
	name(expr.MetaKeyOIFNAME, r.oif)
	family := byte(unix.NFPROTO_IPV4)
	if r.is6() {
		family = unix.NFPROTO_IPV6
	}
	equal([]byte{family}, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1})
	address := func(p netip.Prefix, dst bool) {
		if !p.IsValid() {
			return
		}
		offset, size := place(r.is6(), dst)
		load := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: net.CIDRMask(p.Bits(), int(size)*8), Xor: make([]byte, size)}}
		equal(p.Addr().AsSlice(), load...)
	}
	address(r.src, false)
	address(r.dst, true)
	if r.outside {
		for _, c := range []struct {
			key  expr.CtKey
			mask uint32
		}{{expr.CtKeySTATE, ctEstablished | ctRelated}, {expr.CtKeySTATUS, statusDNAT}} {
			equal(native(0), &expr.Ct{Key: c.key, Register: 1},
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(c.mask), Xor: native(0)})
		}
	}
	out = append(out, &expr.Counter{})
	switch r.action {
	case accept:
		return append(out, &expr.Verdict{Kind: expr.VerdictAccept})
	case drop:
		return append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	kind := expr.NATTypeSourceNAT
	if r.action == dnat {
		kind = expr.NATTypeDestNAT
	}
	return append(out, &expr.Immediate{Register: 1, Data: r.to.AsSlice()},
		&expr.NAT{Type: kind, Family: uint32(family), RegAddrMin: 1, RegAddrMax: 1})
}

// parse is the inverse of exprs, but for the chain and the id.
func parse(list []expr.Any) (rule, error) {
	var (
		r     rule
		load  expr.Any
		mask  []byte
		ct    = map[expr.CtKey]uint32{}
		value []byte
	)
	for _, e := range list {
		switch e := e.(type) {
		case *expr.Meta, *expr.Payload, *expr.Ct:
			load, mask = e, nil
		case *expr.Bitwise:
			mask = e.Mask
		case *expr.Cmp:
			if e.Op != expr.CmpOpEq {
				return r, fmt.Errorf("comparison %v is not of this package", e.Op)
			}
			if err := r.compared(load, mask, e.Data, ct); err != nil {
				return r, err
			}
		case *expr.Counter:
		case *expr.Immediate:
			value = e.Data
		case *expr.Verdict:
			switch e.Kind {
			case expr.VerdictAccept:
				r.action = accept
			case expr.VerdictDrop:
				r.action = drop
			default:
				return r, fmt.Errorf("verdict %v is not of this package", e.Kind)
			}
		case *expr.NAT:
			r.action = snat
			if e.Type == expr.NATTypeDestNAT {
				r.action = dnat
			}
			to, ok := netip.AddrFromSlice(value)
			if !ok {
				return r, fmt.Errorf("translation to %x is not of this package", value)
			}
			r.to = to
		default:
			return r, fmt.Errorf("expression %T is not of this package", e)
		}
	}
	switch {
	case len(ct) == 0:
	case ct[expr.CtKeySTATE] == ctEstablished|ctRelated && ct[expr.CtKeySTATUS] == statusDNAT && len(ct) == 2:
		r.outside = true
	default:
		return r, fmt.Errorf("conntrack match %v is not of this package", ct)
	}
	return r, nil
}

// compared takes in that the masked load equals data.
func (r *rule) compared(load expr.Any, mask, data []byte, ct map[expr.CtKey]uint32) error {
	switch l := load.(type) {
	case *expr.Meta:
		switch l.Key {
		case expr.MetaKeyIIFNAME:
			r.iif = string(bytes.TrimRight(data, "\x00"))
		case expr.MetaKeyOIFNAME:
			r.oif = string(bytes.TrimRight(data, "\x00"))
		case expr.MetaKeyNFPROTO: // the addresses tell
		default:
			return fmt.Errorf("meta key %d is not of this package", l.Key)
		}
	case *expr.Payload:
		addr, ok := netip.AddrFromSlice(data)
		if !ok || l.Base != expr.PayloadBaseNetworkHeader {
			return fmt.Errorf("payload %d bytes at %d is not of this package", l.Len, l.Offset)
		}
		p := netip.PrefixFrom(addr, ones(mask))
		if offset, _ := place(addr.Is6(), true); l.Offset == offset {
			r.dst = p
		} else {
			r.src = p
		}
	case *expr.Ct:
		if len(mask) != 4 || !bytes.Equal(data, native(0)) {
			return fmt.Errorf("conntrack key %d is not of this package", l.Key)
		}
		ct[l.Key] = binary.NativeEndian.Uint32(mask)
	default:
		return fmt.Errorf("comparison without a load is not of this package")
	}
	return nil
}

func ones(mask []byte) int {
	n := 0
	for _, b := range mask {
		n += bits.OnesCount8(b)
	}
	return n
}
