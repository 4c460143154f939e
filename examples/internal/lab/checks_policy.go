package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tierloom/tierloom/examples/internal/ccp"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// A target is one way to reach a pod.
type target struct {
	proto uint8
	port  uint16
}

var targets = []target{{6, 80}, {6, 6379}, {17, 53}, {1, 0}}

func (t target) String() string {
	return map[uint8]string{1: "icmp", 6: "tcp", 17: "udp"}[t.proto] + fmt.Sprintf("/%d", t.port)
}

// listens reports whether a pod answers on a target.
func (p *pod) listens(t target) bool {
	switch t.proto {
	case 6:
		return slices.Contains(p.tcp, t.port)
	case 17:
		return slices.Contains(p.udp, t.port)
	}
	return true
}

// reaches tries a target once.
func (l *Lab) reaches(ctx context.Context, wait time.Duration, a, b *pod, t target) bool {
	var err error
	switch t.proto {
	case 1:
		err = l.ping(a.machine(), b.ip, 1, wait)
	case 6:
		_, err = l.probeWithin(ctx, wait, a.machine(), "tcp", netip.AddrPortFrom(b.ip, t.port))
	case 17:
		_, err = l.probeWithin(ctx, wait, a.machine(), "udp", netip.AddrPortFrom(b.ip, t.port))
	}
	return err == nil
}

// passes tries a target that want says should pass or not. What should pass is
// tried up to three times: a busy machine loses a packet now and then, which
// is no verdict.
func (l *Lab) passes(ctx context.Context, a, b *pod, t target, want bool) bool {
	if !want {
		return l.reaches(ctx, probeTimeout, a, b, t)
	}
	for range 3 {
		if l.reaches(ctx, patience, a, b, t) {
			return true
		}
	}
	return false
}

// predict asks the reference evaluator about the manager's objects.
func (l *Lab) predict(ctx context.Context) (func(a, b *pod, t target) bool, error) {
	objs, _, err := l.api.Intent.List(ctx, intent.Query{})
	if err != nil {
		return nil, err
	}
	engine, err := ccp.Engine(objs)
	if err != nil {
		return nil, err
	}
	ids := map[netip.Addr]string{}
	for _, o := range objs {
		if o.ResourceType != model.KindSegmentPort {
			continue
		}
		p, err := model.Decode[model.Port](o)
		if err != nil {
			return nil, err
		}
		for _, a := range p.Addresses {
			ids[a.IP] = p.ID
		}
	}
	return func(a, b *pod, t target) bool {
		return engine.Eval(policy.Packet{
			SrcPort: ids[a.ip], DstPort: ids[b.ip], Src: a.ip, Dst: b.ip,
			Proto: t.proto, DstPortNo: t.port, SrcPortNo: 40000, ICMPType: icmpEchoRequest,
		}).Allowed()
	}, nil
}

// matrix compares what the evaluator predicts with packets, for every pair, and
// every pod and itself. What has just changed is tried again until it is in force
// on every host.
func (l *Lab) matrix(ctx context.Context, group, name string) error {
	var permits, denials int
	var wrong []string
	var fault error
	_ = l.wait(ctx, settling, name, func() (bool, string) {
		permits, denials, wrong, fault = l.tryAll(ctx)
		return fault != nil || len(wrong) == 0, ""
	})
	if fault != nil {
		return fault
	}
	l.holds(group, name, fmt.Sprintf("%d tries as predicted (%d allowed, %d denied)", permits+denials, permits, denials),
		len(wrong) == 0 && permits > 0 && denials > 0, "%d otherwise %v", len(wrong), firstOf(wrong))
	return nil
}

// tryAll tries every pair and says how many of them are predicted to pass, how
// many not, and which did otherwise.
func (l *Lab) tryAll(ctx context.Context) (permits, denials int, wrong []string, err error) {
	allowed, err := l.predict(ctx)
	if err != nil {
		return 0, 0, nil, err
	}
	var mu sync.Mutex // protects wrong
	var tries []func()
	try := func(a, b *pod, t target, want bool) {
		if l.passes(ctx, a, b, t, want) != want {
			mu.Lock()
			defer mu.Unlock()
			wrong = append(wrong, fmt.Sprintf("%s->%s %s predicted %v", a, b, t, want))
		}
	}
	for _, a := range l.podList() {
		for _, b := range l.podList() {
			for _, t := range targets {
				if !b.listens(t) {
					continue
				}
				want := allowed(a, b, t)
				if want {
					permits++
				} else {
					denials++
				}
				tries = append(tries, func() { try(a, b, t, want) })
			}
		}
	}
	together(ctx, tries)
	slices.Sort(wrong)
	return permits, denials, wrong, nil
}

// checkPolicies applies NetworkPolicies and compares the whole matrix.
func (l *Lab) checkPolicies(ctx context.Context) error {
	const group = "policy"
	before, err := l.connectHairpins(ctx)
	if err != nil {
		return err
	}
	defer before.close()
	if err := l.copyManifests(l.cfg.Policies); err != nil {
		return err
	}
	web, redis := l.pod("development/web-1"), l.pod("production/redis-leader")
	l.comes(ctx, group, "default deny bites", func() (bool, string) {
		return !l.passes(ctx, web, redis, target{6, 6379}, false), "web-1 still reaches redis-leader"
	})
	if err := l.matrix(ctx, group, "matrix equals the evaluator's prediction"); err != nil {
		return err
	}
	for _, c := range []struct {
		name, from, to string
		t              target
		want           bool
	}{
		{"allow by pod selector", "production/frontend-1", "production/redis-leader", target{6, 6379}, true},
		{"allow by namespace and pod selector, named port", "development/client", "production/frontend-2", target{6, 80}, true},
		{"deny another port of the same pod", "development/client", "production/frontend-2", target{17, 53}, false},
		{"ipBlock", "billing/ledger-2", "production/frontend-1", target{6, 80}, l.inBlock("billing/ledger-2")},
		{"ipBlock except", "billing/ledger-1", "production/frontend-1", target{6, 80}, l.inBlock("billing/ledger-1")},
		{"egress to a selected pod", "production/redis-follower-1", "production/redis-leader", target{6, 6379}, true},
		{"egress to anything else", "production/redis-follower-1", "development/web-1", target{6, 80}, false},
		{"namespaces without a policy stay open", "development/web-1", "billing/ledger-1", target{6, 80}, true},
	} {
		l.equal(group, fmt.Sprintf("%s: %s -> %s %s", c.name, c.from, c.to, c.t), c.want, l.passes(ctx, l.pod(c.from), l.pod(c.to), c.t, c.want))
	}
	return l.checkHairpins(ctx, before)
}

// excepted is the address that the manifest's ipBlock leaves out.
var excepted = netip.MustParseAddr("10.8.0.2")

func (l *Lab) inBlock(name string) bool { return l.pod(name).ip != excepted }

// checkLabels moves three pods into a group that an admin rule is about.
func (l *Lab) checkLabels(ctx context.Context) error {
	const group, manifest = "label", "21-development.yaml"
	a, b, c := l.pod("development/web-1"), l.pod("development/web-2"), l.pod("development/web-3")
	other := l.pod("development/client")
	icmp := target{1, 0}
	l.equal(group, "before: ping works", true, l.passes(ctx, a, b, icmp, true) && l.passes(ctx, b, c, icmp, true))
	label := func(s string) string {
		return strings.ReplaceAll(s, "    app: web\n", "    app: web\n    secgroup: web\n")
	}
	unlabel := func(s string) string { return strings.ReplaceAll(s, "    secgroup: web\n", "") }
	if err := l.editManifest(manifest, label); err != nil {
		return err
	}
	blocked := func(x, y *pod) bool { return l.ping(x.machine(), y.ip, 2, 100*time.Millisecond) != nil }
	l.within(ctx, group, "labelled secgroup=web: ping between them stops", time.Second, func() (bool, string) {
		return blocked(a, b) && blocked(b, c) && blocked(c, a), "ping still answered"
	})
	l.equal(group, "another target still answers", true, l.passes(ctx, a, other, icmp, true))
	objs, err := l.tagged(ctx, model.KindSegmentPort, "secgroup", "web")
	if err != nil {
		return err
	}
	l.equal(group, "the label is a tag on three segment ports", 3, len(objs))
	if err := l.matrix(ctx, group, "matrix equals the evaluator's prediction"); err != nil {
		return err
	}
	if err := l.editManifest(manifest, unlabel); err != nil {
		return err
	}
	l.within(ctx, group, "unlabelled: ping works again", time.Second, func() (bool, string) {
		return l.ping(a.machine(), b.ip, 3, 100*time.Millisecond) == nil && l.ping(b.machine(), c.ip, 3, 100*time.Millisecond) == nil, "no answer yet"
	})
	return nil
}

// ofctl runs ovs-ofctl on a machine's bridge: the hand of one who is root there.
func (l *Lab) ofctl(ctx context.Context, machine string, verb string, args ...string) (string, error) {
	argv := append([]string{"ovs-ofctl", "-O", "OpenFlow15", verb, "unix:" + filepath.Join(l.runDir(machine), bridge+".mgmt")}, args...)
	return ovstest.Exec(ctx, "", argv...)
}

// checkEnforcement makes a node forward everything and tries what is denied.
func (l *Lab) checkEnforcement(ctx context.Context) error {
	const group, node = "enforcement", "n1"
	web, redis, front := l.pod("development/web-1"), l.pod("production/redis-leader"), l.pod("production/frontend-1")
	agent := l.processes["node-agent-"+node]
	agent.Kill()
	if _, err := l.ofctl(ctx, node, "del-flows"); err != nil {
		return err
	}
	if _, err := l.ofctl(ctx, node, "add-flow", "actions=NORMAL"); err != nil {
		return err
	}
	l.comes(ctx, group, "node forwards all: what is allowed passes", func() (bool, string) {
		return l.passes(ctx, web, front, target{6, 80}, true), "no answer"
	})
	l.equal(group, "node forwards all: what is denied is dropped, same node", false, l.passes(ctx, web, redis, target{6, 6379}, false))
	l.equal(group, "node forwards all: what is denied is dropped, other host", false, l.passes(ctx, web, l.pod("production/redis-follower-2"), target{6, 6379}, false))
	arrived, err := l.forge(ctx, web, l.pod("development/web-3"), func(f *forgery) { f.srcIP = l.pod("development/web-2").ip })
	if err != nil {
		return err
	}
	l.equal(group, "node forwards all: a forged source address is dropped", "0 arrived", fmt.Sprintf("%d arrived", arrived))
	if _, err := l.ofctl(ctx, node, "del-flows"); err != nil {
		return err
	}
	if err := agent.Start(); err != nil {
		return err
	}
	l.comes(ctx, group, "the node agent puts its flows back", func() (bool, string) {
		_, err := l.probe(ctx, web.machine(), "tcp", netip.MustParseAddrPort("10.96.0.10:8080"))
		return err == nil, errText(err)
	})
	return nil
}

// A forgery is a UDP packet that a pod's port sends with something false in it.
type forgery struct {
	srcMAC       net.HardwareAddr
	srcIP        netip.Addr
	machine, dev string
	vlan         int
}

// forge sends the packet a few times and counts what arrives at the victim.
func (l *Lab) forge(ctx context.Context, from, to *pod, falsify func(*forgery)) (int, error) {
	mac, err := net.ParseMAC(from.mac)
	if err != nil {
		return 0, err
	}
	toMAC, err := net.ParseMAC(to.mac)
	if err != nil {
		return 0, err
	}
	f := forgery{srcMAC: mac, srcIP: from.ip, machine: from.machine(), dev: "eth0", vlan: -1}
	falsify(&f)
	mark := fmt.Sprintf("forged %d", time.Now().UnixNano())
	return l.arrivals(from, to, func(raw []byte) bool { return strings.HasPrefix(string(decode(raw).payload), mark) },
		f, ethernet(toMAC, f.srcMAC, f.vlan, 0x0800, ipv4(f.srcIP, to.ip, 17, udp(40000, 40002, mark))))
}

// forgeries are how often each frame is sent.
const forgeries = 5

// arrivals injects a frame and counts the matches at a pod's port. Behind it goes
// an honest ping of the pod that it is said to be from, which is awaited: what was
// let through has come by then.
func (l *Lab) arrivals(from, to *pod, match func([]byte) bool, f forgery, raw []byte) (int, error) {
	c, err := l.capture(to.machine(), "eth0")
	if err != nil {
		return 0, err
	}
	for range forgeries {
		if err := l.inject(f.machine, f.dev, raw); err != nil {
			c.stop()
			return 0, err
		}
	}
	for seq := range uint16(2) { // of what a switch finds at once it may take the later first
		if err := l.ping(from.machine(), to.ip, seq, patience); err != nil {
			c.stop()
			return 0, err
		}
	}
	n := 0
	for _, b := range c.stop() {
		if match(b) {
			n++
		}
	}
	return n, nil
}

// spoofDrops adds up what a host's spoofguard has dropped.
func (l *Lab) spoofDrops(ctx context.Context, host string) (uint64, error) {
	conn, err := openflow.Dial(ctx, "unix", filepath.Join(l.runDir(host), bridge+".mgmt"), openflow.Config{})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stats, err := conn.FlowStats(ctx, 0, 0)
	if err != nil {
		return 0, err
	}
	var sum uint64
	for _, s := range stats {
		if s.Flow.Table == spoofguardTable && len(s.Flow.Actions) == 0 {
			sum += s.Packets
		}
	}
	return sum, nil
}

// checkSpoofguard forges every field that identifies a port.
func (l *Lab) checkSpoofguard(ctx context.Context) error {
	const group = "spoofguard"
	a, neighbor, victim := l.pod("development/web-1"), l.pod("development/web-2"), l.pod("development/web-3")
	none := func(*forgery) {}
	if n, err := l.forge(ctx, a, victim, none); err != nil || !l.equal(group, "the honest packet arrives", "5 arrived", fmt.Sprintf("%d arrived", n)) {
		return err
	}
	neighborMAC, err := net.ParseMAC(neighbor.mac)
	if err != nil {
		return err
	}
	own, err := net.ParseMAC(a.mac)
	if err != nil {
		return err
	}
	forged := []struct {
		name string
		run  func() (int, error)
	}{
		{"source address of a neighbour", func() (int, error) {
			return l.forge(ctx, a, victim, func(f *forgery) { f.srcIP = neighbor.ip })
		}},
		{"source MAC of a neighbour", func() (int, error) {
			return l.forge(ctx, a, victim, func(f *forgery) { f.srcMAC = neighborMAC })
		}},
		{"ARP reply for a neighbour's address", func() (int, error) { return l.forgeARP(a, victim, arpReply, own, neighbor.ip, false) }},
		{"gratuitous ARP for a neighbour's address", func() (int, error) { return l.forgeARP(a, victim, arpRequest, own, neighbor.ip, true) }},
		{"another pod's VLAN on the node's vNIC", func() (int, error) {
			return l.forge(ctx, a, victim, func(f *forgery) { f.machine, f.dev, f.vlan = a.node, nodeUplink, int(neighbor.vlan) })
		}},
	}
	for _, f := range forged {
		before, err := l.spoofDrops(ctx, "h1")
		if err != nil {
			return err
		}
		n, err := f.run()
		if err != nil {
			return err
		}
		var after uint64
		_ = l.wait(ctx, settling, "counters", func() (bool, string) {
			after, err = l.spoofDrops(ctx, "h1")
			return err != nil || after-before >= forgeries, ""
		})
		if err != nil {
			return err
		}
		l.holds(group, f.name, "0 arrived, 5 or more counted as dropped", n == 0 && after-before >= forgeries, "%d arrived, %d counted as dropped", n, after-before)
	}
	return nil
}

// forgeARP claims an address that is not the sender's.
func (l *Lab) forgeARP(from, to *pod, op uint16, sha net.HardwareAddr, claim netip.Addr, gratuitous bool) (int, error) {
	toMAC, err := net.ParseMAC(to.mac)
	if err != nil {
		return 0, err
	}
	dst, tha, tpa := toMAC, toMAC, to.ip
	if gratuitous {
		dst, tha, tpa = broadcast, noMAC, claim
	}
	f := forgery{machine: from.machine(), dev: "eth0"}
	return l.arrivals(from, to, func(raw []byte) bool {
		return decode(raw).etype == 0x0806 && len(raw) >= 42 && netip.AddrFrom4([4]byte(raw[28:32])) == claim && slices.Equal(raw[22:28], sha)
	}, f, ethernet(dst, sha, -1, 0x0806, arp(op, sha, claim, tha, tpa)))
}
