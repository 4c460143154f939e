package policyovs

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/policy"
)

// examine decides about the connection of a reply: it goes on, as one of this
// generation, or it ends.
func (a *Agent) examine(ctx context.Context, w *world, c copied, f *frame) error {
	if f.fragment || w.ids[c.key] == "" {
		return nil // whose connection this is, another packet will tell
	}
	first := f.first()
	dir := policy.Ingress // the reply leaves the port that the first packet reached
	if c.dir == policy.Ingress {
		dir = policy.Egress
	}
	zone := uint16(c.key)
	if v, r := w.lookup(dir, c.key, first); goesOn(v, r) {
		mark := ovs.SetField(ovs.CTMark(w.l.mark()))
		err := a.sw.PacketOut(ctx, ovs.PortController, c.Frame, ovs.CT(ovs.CTOptions{Commit: true, Zone: zone, Exec: []ovs.Action{mark}}))
		if err != nil {
			return fmt.Errorf("policyovs: connection of zone %d goes on: %w", zone, err)
		}
		a.counts.kept.Add(1)
		return nil
	}
	tuple := openflow.CTTuple{Src: first.Src, Dst: first.Dst, SrcPort: first.SrcPortNo, DstPort: first.DstPortNo}
	if f.is(policy.ICMP, icmpLen) || f.is(policy.ICMPv6, icmpLen) {
		tuple.ICMPType, tuple.ICMPID = first.ICMPType, be.Uint16(f.payload[4:])
	}
	if err := a.sw.FlushCT(ctx, openflow.CTFilter{HasZone: true, Zone: zone, Proto: first.Proto, Original: tuple}); err != nil {
		return fmt.Errorf("policyovs: connection of zone %d ends: %w", zone, err)
	}
	a.counts.ended.Add(1)
	return nil
}

// goesOn reports whether a connection goes on that is decided about in this way.
func goesOn(v policy.Verdict, r *policy.ProgramRule) bool {
	if v.Action == policy.Allow {
		return r == nil || !r.Stateless
	}
	return r != nil && r.Established == policy.Keep
}

// first returns the first packet of the connection that a reply is of.
func (f *frame) first() policy.Packet {
	p := f.packet()
	p.Src, p.Dst = p.Dst, p.Src
	p.SrcPortNo, p.DstPortNo = p.DstPortNo, p.SrcPortNo
	switch {
	case f.is(policy.ICMP, icmpLen) && p.ICMPType == 0: // echo (RFC 792)
		p.ICMPType = 8
	case f.is(policy.ICMP, icmpLen) && p.ICMPType%2 == 0 && p.ICMPType >= 14: // timestamp, information, address mask
		p.ICMPType--
	case f.is(policy.ICMPv6, icmpLen) && (p.ICMPType == 129 || p.ICMPType == 140): // echo (RFC 4443), node information (RFC 4620)
		p.ICMPType--
	}
	return p
}

// Narrows reports whether a change of a program may deny what was allowed, so
// that the next [Layout.Generation] is due. It may say so of one that does not.
func Narrows(before *policy.Program, c policy.Change) bool {
	if c.Default != nil && *c.Default != policy.Allow || len(c.Gone) > 0 {
		return true
	}
	had := map[string]bool{}
	for _, r := range before.Rules {
		had[r.ID] = true
	}
	for _, r := range c.Rules {
		if had[r.ID] || r.Action != policy.Allow || r.Stateless {
			return true
		}
	}
	grown := map[string]bool{}
	for _, s := range c.Sets {
		if len(s.Removed) > 0 || s.Gone {
			return true
		}
		grown[s.ID] = true
	}
	for _, r := range before.Rules {
		if r.Peers == nil || r.Action == policy.Allow && !r.Stateless && !r.Peers.Excluded {
			continue
		}
		for _, id := range r.Peers.Sets {
			if grown[id] {
				return true
			}
		}
	}
	return false
}
