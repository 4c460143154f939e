package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/tierloom/tierloom/examples/internal/ccp"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/reconcile/intent"
)

const explainUsage = "policy explain -from NAMESPACE/POD|ADDRESS -to NAMESPACE/POD:PORT|ADDRESS:PORT [-proto tcp|udp|sctp|icmp] [-cluster NAME]"

// policy asks what rules say.
func (c *command) policy(ctx context.Context, args []string) error {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "explain":
		return c.explain(ctx, args)
	case "rules":
		return c.listRules(ctx, args)
	case "counters":
		return c.counters(ctx, args)
	}
	return fmt.Errorf("%w: %s, or policy rules, or %s", ErrUsage, explainUsage, countersUsage)
}

// engine holds the whole intent.
func (c *command) engine(ctx context.Context) (*policy.Engine, error) {
	objs, _, err := c.api.Intent.List(ctx, intent.Query{})
	if err != nil {
		return nil, err
	}
	return ccp.Engine(objs)
}

// listRules lists all rules in the order in which they are tried.
func (c *command) listRules(ctx context.Context, args []string) error {
	if _, err := c.words(flags("policy rules"), args, "policy rules", 0, 0); err != nil {
		return err
	}
	e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	sections := map[string]policy.Section{}
	rules := map[policy.RuleID]policy.Rule{}
	for _, s := range e.Objects().Sections {
		sections[s.ID] = s
		for _, r := range s.Rules {
			rules[policy.RuleID{Section: s.ID, Rule: r.ID}] = r
		}
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CATEGORY\tSEQUENCE\tSECTION\tRULE\tDIRECTION\tACTION\tNAME")
	for _, id := range e.Order() {
		s, r := sections[id.Section], rules[id]
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", s.Category, s.Priority, s.ID, r.ID, r.Direction, r.Action, cmp.Or(r.DisplayName, s.DisplayName))
	}
	return w.Flush()
}

// explain tells which rules decide about a packet, and which come close.
func (c *command) explain(ctx context.Context, args []string) error {
	fs := flags("policy explain")
	from := fs.String("from", "", "where the packet comes from: `namespace/pod` or an address")
	to := fs.String("to", "", "where it goes: `namespace/pod:port` or an address with a port")
	proto := fs.String("proto", "tcp", "its `protocol`: tcp, udp, sctp or icmp")
	cluster := fs.String("cluster", "", "`name` of the cluster, where pods of several have the same name")
	if _, err := c.words(fs, args, explainUsage, 0, 0); err != nil {
		return err
	}
	q, err := parseQuestion(*cluster, *from, *to, *proto)
	if err != nil {
		return err
	}
	e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	o := e.Objects()
	p, err := q.packet(o.Members)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, policy.NewEvaluator(o).Explain(p))
	return nil
}

// A question is about the first packet from one end to another.
type question struct {
	cluster, from, to string
	proto             policy.Protocol
	port              uint16
}

func parseQuestion(cluster, from, to, proto string) (question, error) {
	q := question{cluster: cluster, from: from, to: to}
	q.proto = map[string]policy.Protocol{"tcp": policy.TCP, "udp": policy.UDP, "sctp": policy.SCTP, "icmp": policy.ICMP}[strings.ToLower(proto)]
	if q.proto == 0 {
		return q, fmt.Errorf("%w: -proto %q: want tcp, udp, sctp or icmp", ErrUsage, proto)
	}
	if q.proto.HasPorts() {
		host, port, err := net.SplitHostPort(to)
		if err != nil {
			return q, fmt.Errorf("%w: -to %q: want a port at its end", ErrUsage, to)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return q, fmt.Errorf("%w: -to %q: port %q is not a number up to 65535", ErrUsage, to, port)
		}
		q.to, q.port = host, uint16(n)
	}
	for _, end := range []struct{ flag, name string }{{"from", q.from}, {"to", q.to}} {
		ns, pod, ok := strings.Cut(end.name, "/")
		if _, err := netip.ParseAddr(end.name); err != nil && (!ok || ns == "" || pod == "") {
			return q, fmt.Errorf("%w: -%s %q is neither namespace/pod nor an address", ErrUsage, end.flag, end.name)
		}
	}
	return q, nil
}

// packet finds the ends, and addresses of one family.
func (q question) packet(members []policy.Member) (policy.Packet, error) {
	p := policy.Packet{Proto: uint8(q.proto), SrcPortNo: 40000, DstPortNo: q.port}
	src, err1 := findEnd(members, q.cluster, q.from)
	dst, err2 := findEnd(members, q.cluster, q.to)
	if err := errors.Join(err1, err2); err != nil {
		return p, err
	}
	for _, a := range src.IPs {
		for _, b := range dst.IPs {
			if a.Is4() != b.Is4() {
				continue
			}
			p.SrcPort, p.DstPort, p.Src, p.Dst = src.ID, dst.ID, a, b
			if q.proto == policy.ICMP {
				p.SrcPortNo, p.ICMPType = 0, 8 // echo request
				if a.Is6() {
					p.Proto, p.ICMPType = uint8(policy.ICMPv6), 128
				}
			}
			return p, nil
		}
	}
	return p, fmt.Errorf("%s has %v, %s has %v: no address family in common", q.from, src.IPs, q.to, dst.IPs)
}

// findEnd finds a pod by its name, or a port by its address; an address that is
// nobody's is an end elsewhere.
func findEnd(members []policy.Member, cluster, name string) (policy.Member, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		for _, m := range members {
			if slices.Contains(m.IPs, a) && m.Kind == "Pod" {
				return m, nil
			}
		}
		return policy.Member{IPs: []netip.Addr{a}}, nil
	}
	ns, pod, _ := strings.Cut(name, "/")
	var found []policy.Member
	for _, m := range members {
		if cluster != "" && m.Namespace != model.Namespace(cluster, ns) || cluster == "" && !strings.HasSuffix(m.Namespace, "/"+ns) {
			continue
		}
		if slices.Contains(m.Tags, policy.Tag{Scope: model.DefaultScopes().Pod, Tag: pod}) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return policy.Member{}, fmt.Errorf("there is no pod %s with a port", name)
	case 1:
		return found[0], nil
	}
	return policy.Member{}, fmt.Errorf("%d clusters have a pod %s: say which with -cluster", len(found), name)
}
