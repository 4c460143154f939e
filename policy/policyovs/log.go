package policyovs

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/tierloom/tierloom/policy"
)

// write logs a packet. The record's attributes are those of a line in an access
// log: what was decided, by which rule, between whom.
func (a *Agent) write(ctx context.Context, w *world, c copied, f *frame) {
	k := f.packet()
	r := w.rule(c, w.at(c.dir, c.key, k))
	from, to := w.ids[c.source], ""
	if c.dir == policy.Ingress {
		to = w.ids[c.key]
	}
	attrs := []slog.Attr{slog.String("action", action(c.verdict).String()), slog.String("direction", c.dir.String())}
	switch {
	case r != nil:
		attrs = append(attrs, slog.String("policy", cmp.Or(r.Name, r.Section)), slog.String("section", r.Section), slog.String("rule", r.Rule))
		if r.LogLabel != "" {
			attrs = append(attrs, slog.String("label", r.LogLabel))
		}
	case c.number == 0:
		attrs = append(attrs, slog.String("policy", "default"))
	default:
		attrs = append(attrs, slog.String("policy", "gone")) // since the packet passed
	}
	attrs = append(attrs,
		slog.String("from", cmp.Or(from, a.portAt(k.Src))), slog.String("to", cmp.Or(to, a.portAt(k.Dst))),
		slog.String("protocol", policy.Protocol(k.Proto).String()), slog.String("src", k.Src.String()), slog.String("dst", k.Dst.String()))
	switch {
	case policy.Protocol(k.Proto).HasPorts():
		attrs = append(attrs, slog.Int("src_port", int(k.SrcPortNo)), slog.Int("dst_port", int(k.DstPortNo)))
	case f.is(policy.ICMP, 2), f.is(policy.ICMPv6, 2):
		attrs = append(attrs, slog.Int("icmp_type", int(k.ICMPType)), slog.Int("icmp_code", int(k.ICMPCode)))
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "packet", attrs...)
	a.counts.logged.Add(1)
}

// action is what was done to a packet that came with a verdict.
func action(verdict uint32) policy.Action {
	switch {
	case verdict&verdictAllow != 0:
		return policy.Allow
	case verdict&verdictReject != 0:
		return policy.Reject
	}
	return policy.Drop
}
