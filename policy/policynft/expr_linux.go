package policynft

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/policy"
)

// namer says what a chain, set or map is called in the kernel.
type namer func(string) string

// exprs returns the line as the kernel's expressions.
func (l line) exprs(name namer) []expr.Any {
	var out []expr.Any
	for _, t := range l.terms {
		out = append(out, termExprs(t, name)...)
	}
	return out
}

func termExprs(t term, name namer) []expr.Any {
	switch t := t.(type) {
	case family:
		nfproto := map[family]byte{ipv4: unix.NFPROTO_IPV4, ipv6: unix.NFPROTO_IPV6}[t]
		return equal([]byte{nfproto}, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1})
	case protocol:
		return equal([]byte{byte(t)}, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1})
	case address:
		return t.exprs(name)
	case dport:
		return t.exprs(name)
	case icmp:
		return t.exprs()
	case ctState:
		bit := map[ctState]uint32{invalid: expr.CtStateBitINVALID, related: expr.CtStateBitRELATED}[t]
		return ctBits(expr.CtKeySTATE, bit, expr.CmpOpNeq)
	case ctDirection:
		dir := map[ctDirection]byte{original: 0, reply: 1}[t] // enum ip_conntrack_dir
		return equal([]byte{dir}, &expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1})
	case marked:
		if t.not {
			return ctBits(expr.CtKeyMARK, t.bit, expr.CmpOpEq)
		}
		return ctBits(expr.CtKeyMARK, t.bit, expr.CmpOpNeq)
	case mark:
		xor := native(t.bit)
		if t.clear {
			xor = native(0)
		}
		return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(^t.bit), Xor: xor},
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true}}
	case counter:
		return []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: string(t)}}
	case log:
		return []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(t.rate), Unit: expr.LimitTimeSecond, Burst: t.burst},
			&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX, Group: t.group, Data: []byte(t.prefix)}}
	case vmap:
		var out []expr.Any
		if t.in {
			out = append(out, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1})
		}
		if t.out { // a register has room for one name; a key of two is in two
			out = append(out, &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: uint32(1 + len(out))})
		}
		return append(out, &expr.Lookup{SourceRegister: 1, SetName: name(t.set), IsDestRegSet: true})
	case verdict:
		switch t.kind {
		case accept:
			return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
		case back:
			return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
		case gotoThe:
			return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: name(t.chain)}}
		}
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	case reject:
		if t.reset {
			return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
		}
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
	}
	panic(fmt.Sprintf("policynft: no expression for %T", t)) // a term is one of those in term.go
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func equal(data []byte, load ...expr.Any) []expr.Any {
	return append(load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data})
}

// ctBits compares what connection tracking knows, masked, with 0.
func ctBits(key expr.CtKey, mask uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(mask), Xor: native(0)},
		&expr.Cmp{Op: op, Register: 1, Data: native(0)}}
}

func (a address) exprs(name namer) []expr.Any {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4} // RFC 791, 3.1
	if a.dst {
		load.Offset = 16
	}
	if a.family == ipv6 { // RFC 8200, 3
		load.Offset, load.Len = 8, 16
		if a.dst {
			load.Offset = 24
		}
	}
	if a.set != "" {
		return []expr.Any{load, &expr.Lookup{SourceRegister: 1, SetName: name(a.set), Invert: a.not}}
	}
	op := expr.CmpOpEq
	if a.not {
		op = expr.CmpOpNeq
	}
	return []expr.Any{load,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: load.Len, Mask: net.CIDRMask(a.prefix.Bits(), int(load.Len)*8), Xor: make([]byte, load.Len)},
		&expr.Cmp{Op: op, Register: 1, Data: a.prefix.Addr().AsSlice()}}
}

// exprs: the destination port is at the same place in TCP, UDP and SCTP
// (RFC 9293, 3.1; RFC 768; RFC 9260, 3.1).
func (d dport) exprs(name namer) []expr.Any {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	from, to := binary.BigEndian.AppendUint16(nil, d.ports.From), binary.BigEndian.AppendUint16(nil, d.ports.To)
	switch {
	case d.set != "":
		return []expr.Any{load, &expr.Lookup{SourceRegister: 1, SetName: name(d.set)}}
	case d.ports.From == d.ports.To:
		return equal(from, load)
	}
	return []expr.Any{load, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: from, ToData: to}}
}

func (i icmp) exprs() []expr.Any {
	var out []expr.Any
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}
	if i.from == i.to {
		out = equal([]byte{i.from}, load)
	} else {
		out = []expr.Any{load, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{i.from}, ToData: []byte{i.to}}}
	}
	if i.code >= 0 {
		out = append(out, equal([]byte{byte(i.code)}, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 1, Len: 1})...)
	}
	return out
}

// prefixElements returns intervals: the first address, and the one after the last,
// unless there is none.
func prefixElements(list []netip.Prefix) []nftables.SetElement {
	out := make([]nftables.SetElement, 0, 2*len(list))
	for _, p := range list {
		out = append(out, nftables.SetElement{Key: p.Addr().AsSlice()})
		if next := after(p); next.IsValid() {
			out = append(out, nftables.SetElement{Key: next.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// after returns the address after those of a prefix.
func after(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last.Next()
}

func portElements(list []policy.PortRange) []nftables.SetElement {
	var out []nftables.SetElement
	for _, r := range list {
		out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, r.From)})
		if r.To < 0xffff {
			out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, r.To+1), IntervalEnd: true})
		}
	}
	return out
}
