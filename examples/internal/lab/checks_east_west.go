package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/overlay"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// tagged lists the objects of a kind ("" is any) that carry a tag.
func (l *Lab) tagged(ctx context.Context, kind, scope, tag string) ([]intent.Object, error) {
	objs, _, err := l.api.Intent.List(ctx, intent.Query{ResourceType: kind, Tag: &intent.Tag{Scope: scope, Tag: tag}})
	return objs, err
}

func kinds(objs []intent.Object, of ...string) string {
	var out []string
	for _, k := range of {
		n := 0
		for _, o := range objs {
			if o.ResourceType == k {
				n++
			}
		}
		out = append(out, fmt.Sprintf("%s×%d", k, n))
	}
	return strings.Join(out, " ")
}

// checkNamespaces applies one more namespace, counts the time until its
// network is there, and looks at the others'.
func (l *Lab) checkNamespaces(ctx context.Context) error {
	const group = "namespace"
	of := []string{model.KindSegment, model.KindTier1, model.KindNATRule}
	if err := l.writeManifest("11-fresh.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: fresh\n"); err != nil {
		return err
	}
	l.comes(ctx, group, "fresh namespace has segment, tier-1, SNAT rule, all tagged", func() (bool, string) {
		objs, err := l.tagged(ctx, "", "ncp/project", "fresh")
		seen := kinds(objs, of...)
		return err == nil && seen == "Segment×1 Tier1×1 PolicyNatRule×1", fmt.Sprint(seen, " ", err)
	})
	for _, ns := range []struct{ name, want string }{
		{"production", "Segment×1 Tier1×1 PolicyNatRule×1"}, {"billing", "Segment×1 Tier1×1 PolicyNatRule×0"},
	} {
		objs, err := l.tagged(ctx, "", "ncp/project", ns.name)
		if err != nil {
			return err
		}
		l.equal(group, ns.name+" has its objects", ns.want, kinds(objs, of...))
	}
	segments, _, err := l.api.Intent.List(ctx, intent.Query{ResourceType: model.KindSegment})
	if err != nil {
		return err
	}
	var subnets []netip.Prefix
	overlaps := 0
	for _, o := range segments {
		s, err := model.Decode[model.Segment](o)
		if err != nil {
			return err
		}
		for _, sub := range s.Subnets {
			p := sub.Gateway.Masked()
			if slices.ContainsFunc(subnets, p.Overlaps) {
				overlaps++
			}
			subnets = append(subnets, p)
		}
	}
	l.holds(group, "no two subnets overlap", "0 overlaps among 4 subnets", overlaps == 0 && len(subnets) == 4, "%d overlaps among %d subnets", overlaps, len(subnets))
	return l.removeManifest("11-fresh.yaml")
}

// relation says how far apart two pods are.
func relation(a, b *pod) string {
	hostOf := func(node string) string {
		for _, n := range nodes {
			if n.name == node {
				return n.host
			}
		}
		return ""
	}
	where := "other host"
	if a.node == b.node {
		where = "same node"
	} else if hostOf(a.node) == hostOf(b.node) {
		where = "other node, same host"
	}
	if a.namespace == b.namespace {
		return where + ", same namespace"
	}
	return where + ", other namespace"
}

// checkReachability tries every pair by TCP and ICMP and counts by relation.
func (l *Lab) checkReachability(ctx context.Context) error {
	const group = "reachability"
	type tally struct {
		pairs, tcp, icmp, own int
		failed                string // one that did not answer
	}
	tallies := map[string]*tally{}
	var mu sync.Mutex // protects what tallies have but pairs
	var tries []func()
	pods := l.podList()
	for _, a := range pods {
		for _, b := range pods {
			if a == b {
				continue
			}
			rel := relation(a, b)
			if tallies[rel] == nil {
				tallies[rel] = &tally{}
			}
			t := tallies[rel]
			t.pairs++
			tries = append(tries, func() {
				r, err := l.probe(ctx, a.machine(), "tcp", netip.AddrPortFrom(b.ip, b.tcp[0]))
				pinged := l.ping(a.machine(), b.ip, 1, patience) == nil
				mu.Lock()
				defer mu.Unlock()
				if err == nil && r.name == b.String() {
					t.tcp++
					if r.peer.Addr() == a.ip {
						t.own++
					}
				} else if t.failed == "" {
					t.failed = fmt.Sprintf(", %s -> %s: %s %s", a, b, r.name, errText(err))
				}
				if pinged {
					t.icmp++
				}
			})
		}
	}
	together(ctx, tries)
	for _, rel := range []string{
		"same node, same namespace", "same node, other namespace", "other node, same host, same namespace",
		"other node, same host, other namespace", "other host, same namespace", "other host, other namespace",
	} {
		t := tallies[rel]
		if t == nil {
			return fmt.Errorf("the manifests have no pair of pods on %s", rel)
		}
		want := fmt.Sprintf("%d TCP, %d ICMP", t.pairs, t.pairs)
		l.equal(group, rel, want, fmt.Sprintf("%d TCP, %d ICMP%s", t.tcp, t.icmp, t.failed))
	}
	pairs, own := 0, 0
	for _, t := range tallies {
		pairs, own = pairs+t.pairs, own+t.own
	}
	l.equal(group, "receivers see the pod's own address", fmt.Sprintf("%d of %d", pairs, pairs), fmt.Sprintf("%d of %d", own, pairs))
	return nil
}

// checkWire looks at one inter-namespace flow on the node's vNIC and on the underlay.
func (l *Lab) checkWire(ctx context.Context) error {
	const group = "wire"
	a, b := l.pod("development/web-1"), l.pod("production/frontend-3")
	vni, err := l.vni(ctx, b.namespace)
	if err != nil {
		return err
	}
	onNode, err := l.capture(a.node, nodeUplink)
	if err != nil {
		return err
	}
	onUnderlay, err := l.capture("ul", "to-h1")
	if err != nil {
		onNode.stop()
		return err
	}
	const count = 5
	for seq := range uint16(count) {
		if err := l.ping(a.machine(), b.ip, seq, patience); err != nil {
			onNode.stop()
			onUnderlay.stop()
			return err
		}
	}
	tags := map[int]int{}
	for _, raw := range onNode.stop() {
		if f := decode(raw); f.srcIP == a.ip && f.dstIP == b.ip {
			tags[f.vlan]++
		}
	}
	l.equal(group, "frames on the vNIC carry the pod's VLAN id", map[int]int{int(a.vlan): count}, tags)
	vlans, headers, vnis, ttls := map[int]int{}, map[int]int{}, map[overlay.VNI]int{}, map[uint8]int{}
	for _, raw := range onUnderlay.stop() {
		inner, n, id := decapsulate(raw)
		if inner.srcIP == a.ip && inner.dstIP == b.ip {
			vlans[inner.vlan]++
			headers[n]++
			vnis[id]++
			ttls[inner.ttl]++
		}
	}
	l.equal(group, "inner frames on the underlay are untagged", map[int]int{-1: count}, vlans)
	l.equal(group, "exactly one GENEVE header", map[int]int{1: count}, headers)
	l.equal(group, "routed on the source host: VNI of the destination's segment", map[overlay.VNI]int{vni: count}, vnis)
	l.equal(group, "routed on the source host: TTL one less", map[uint8]int{63: count}, ttls)
	return nil
}

// decapsulate peels GENEVE headers off and returns the innermost frame, how
// many headers there were, and the VNI of the last.
func decapsulate(raw []byte) (frame, int, overlay.VNI) {
	f, n, vni := decode(raw), 0, overlay.VNI(0)
	for f.proto == 17 && f.dport == overlay.Port {
		h, payload, err := overlay.Parse(f.payload)
		if err != nil {
			break
		}
		f, vni = decode(payload), h.VNI
		n++
	}
	return f, n, vni
}

// vni returns that of a namespace's segment.
func (l *Lab) vni(ctx context.Context, namespace string) (overlay.VNI, error) {
	s, err := l.segment(ctx, namespace)
	return overlay.VNI(s.VNI), err
}

func (l *Lab) segment(ctx context.Context, namespace string) (model.Segment, error) {
	objs, err := l.tagged(ctx, model.KindSegment, "ncp/project", namespace)
	if err != nil {
		return model.Segment{}, err
	}
	if len(objs) != 1 {
		return model.Segment{}, fmt.Errorf("namespace %s: %d segments, want 1", namespace, len(objs))
	}
	return model.Decode[model.Segment](objs[0])
}

// checkL2 asks for the gateway by ARP on both hosts and broadcasts in one segment.
func (l *Lab) checkL2(ctx context.Context) error {
	const group = "l2"
	seg, err := l.segment(ctx, "development")
	if err != nil {
		return err
	}
	gw := seg.Subnets[0].Gateway.Addr()
	for _, name := range []string{"development/web-1", "development/web-3"} {
		p := l.pod(name)
		mac, err := l.arpFor(p, gw)
		l.holds(group, "ARP for the gateway answered on "+relationHost(p), "an answer", err == nil, "%v %s", mac, errText(err))
		l.equal(group, "gateway answers ping on "+relationHost(p), "<nil>", l.ping(p.machine(), gw, 1, patience))
	}
	from := l.pod("development/web-1")
	const mark = "tierloom broadcast"
	watch := map[string]*capture{}
	for _, p := range l.podList(func(p *pod) bool { return p != from }) {
		if watch[p.String()], err = l.capture(p.machine(), "eth0"); err != nil {
			return err
		}
	}
	smac, err := net.ParseMAC(from.mac)
	if err != nil {
		return err
	}
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	b := ethernet(broadcast, smac, -1, 0x0800, ipv4(from.ip, all, 17, udp(40000, 40001, mark)))
	for range 3 {
		if err := l.inject(from.machine(), "eth0", b); err != nil {
			return err
		}
	}
	// The last frame's arrival at the farthest pod of the segment would come
	// before an answer to this.
	for _, p := range l.podList(inNamespace("development")) {
		if p != from {
			_ = l.ping(from.machine(), p.ip, 9, patience)
		}
	}
	var same, others []string
	for name, c := range watch {
		if slices.ContainsFunc(c.stop(), func(raw []byte) bool { return strings.HasPrefix(string(decode(raw).payload), mark) }) {
			if strings.HasPrefix(name, "development/") {
				same = append(same, name)
			} else {
				others = append(others, name)
			}
		}
	}
	slices.Sort(same)
	l.equal(group, "broadcast seen in its own segment on both hosts", "[development/client development/web-2 development/web-3]", same)
	l.equal(group, "broadcast not seen in other segments", "[]", others)
	return nil
}

func relationHost(p *pod) string {
	for _, n := range nodes {
		if n.name == p.node {
			return "host " + n.host
		}
	}
	return p.node
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// arpFor asks for an address from a pod and returns the answering MAC.
func (l *Lab) arpFor(p *pod, ip netip.Addr) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(p.mac)
	if err != nil {
		return nil, err
	}
	c, err := l.capture(p.machine(), "eth0")
	if err != nil {
		return nil, err
	}
	err = l.inject(p.machine(), "eth0", ethernet(broadcast, mac, -1, 0x0806, arp(arpRequest, mac, p.ip, noMAC, ip)))
	if err != nil {
		c.stop()
		return nil, err
	}
	deadline := time.Now().Add(patience)
	var from net.HardwareAddr
	for from == nil && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
		from = c.arpReplyFrom(ip)
	}
	c.stop()
	if from == nil {
		return nil, fmt.Errorf("no ARP reply for %s within %v", ip, patience)
	}
	return from, nil
}

// arpReplyFrom returns the sender of an ARP reply for ip, if one was captured.
func (c *capture) arpReplyFrom(ip netip.Addr) net.HardwareAddr {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, raw := range c.frames {
		if f := decode(raw); f.etype == 0x0806 && len(raw) >= 42 && raw[21] == arpReply && netip.AddrFrom4([4]byte(raw[28:32])) == ip {
			return net.HardwareAddr(raw[22:28])
		}
	}
	return nil
}

// checkServices spreads connections over endpoints, by TCP and UDP, and takes
// an endpoint away and back under a running client.
func (l *Lab) checkServices(ctx context.Context) error {
	const group = "service"
	client := l.pod("development/client")
	web := netip.MustParseAddrPort("10.96.0.10:8080")
	dns := netip.MustParseAddrPort("10.96.0.10:53")
	l.spread(ctx, group, "TCP to the ClusterIP", client, "tcp", web, 3)
	l.spread(ctx, group, "UDP to the ClusterIP", client, "udp", dns, 3)
	r, err := l.probe(ctx, client.machine(), "udp", dns)
	l.equal(group, "the reply comes from the VIP", dns, fmt.Sprint(r.from, errText(err)))
	dump := l.conntrack(client.node)
	l.holds(group, "the DNAT is in the client node's conntrack", "an entry "+client.ip.String()+" -> "+web.Addr().String(),
		slices.ContainsFunc(strings.Split(dump, "\n"), func(line string) bool {
			return strings.Contains(line, "src="+client.ip.String()+",dst="+web.Addr().String()) && strings.Contains(line, ",dst="+client.ip.String())
		}), "%d entries in all", strings.Count(dump, "\n"))
	hair := l.pod("production/frontend-1")
	reached := 0
	for range 12 {
		if _, err := l.probe(ctx, hair.machine(), "tcp", web); err == nil {
			reached++
		}
	}
	l.equal(group, "an endpoint reaches its own service, itself included", 12, reached)
	return l.checkEndpointChange(ctx, group, client, web)
}

// spread makes connections to a VIP and counts who answers.
func (l *Lab) spread(ctx context.Context, group, name string, from *pod, network string, vip netip.AddrPort, want int) map[string]int {
	const n = 60
	counts := map[string]int{}
	failed := 0
	for range n {
		r, err := l.probe(ctx, from.machine(), network, vip)
		if err != nil {
			failed++
			continue
		}
		counts[r.name]++
	}
	fewest := n
	for _, c := range counts {
		fewest = min(fewest, c)
	}
	l.holds(group, name+" spreads over all ready endpoints", fmt.Sprintf("%d endpoints, each at least %d of %d", want, n/want/4, n),
		failed == 0 && len(counts) == want && fewest >= n/want/4, "%v, %d failed", counts, failed)
	return counts
}

// checkEndpointChange relabels a backend away from its service and back while
// a client connects all the time.
func (l *Lab) checkEndpointChange(ctx context.Context, group string, client *pod, vip netip.AddrPort) error {
	const manifest, victim = "20-guestbook.yaml", "production/frontend-2"
	stop := make(chan struct{})
	type result struct {
		n      int
		errors []string
	}
	ended := make(chan result)
	go func() {
		var res result
		for {
			select {
			case <-stop:
				ended <- res
				return
			default:
			}
			res.n++
			if _, err := l.probe(ctx, client.machine(), "tcp", vip); err != nil {
				res.errors = append(res.errors, err.Error())
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	oldText, newText := frontendLabels(2, "frontend"), frontendLabels(2, "retired")
	if err := l.editManifest(manifest, func(s string) string { return strings.Replace(s, oldText, newText, 1) }); err != nil {
		return err
	}
	// One of three endpoints is missed by 60 connections once in 10^10 times.
	reached := func(want bool) func() (bool, string) {
		return func() (bool, string) {
			for n := range 60 {
				if r, err := l.probe(ctx, client.machine(), "tcp", vip); err == nil && r.name == victim {
					return want, fmt.Sprintf("connection %d reached %s", n+1, victim)
				}
			}
			return !want, "none of 60 connections reached " + victim
		}
	}
	l.comes(ctx, group, "an endpoint that left the selector gets no new connection", reached(false))
	l.spread(ctx, group, "with one endpoint less, TCP", client, "tcp", vip, 2)
	if err := l.editManifest(manifest, func(s string) string { return strings.Replace(s, newText, oldText, 1) }); err != nil {
		return err
	}
	l.comes(ctx, group, "an endpoint that came back gets connections", reached(true))
	l.spread(ctx, group, "with the endpoint back, TCP", client, "tcp", vip, 3)
	close(stop)
	res := <-ended
	l.holds(group, "the client loop saw no error meanwhile", "0 errors", len(res.errors) == 0 && res.n > 20, "%d errors in %d connections %v", len(res.errors), res.n, firstOf(res.errors))
	return nil
}

func frontendLabels(n int, tier string) string {
	return fmt.Sprintf("name: frontend-%d\n  namespace: production\n  labels:\n    app: guestbook\n    tier: %s", n, tier)
}

func firstOf(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
