package netpol_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
	"github.com/tierloom/tierloom/policy/netpol"
)

// A cluster is Kubernetes objects, and an Engine that is told of each change.
type cluster struct {
	t          *testing.T
	rnd        *rand.Rand
	steps      []string
	namespaces map[string]*corev1.Namespace
	pods       map[string]*corev1.Pod // by namespace/name
	nodes      map[string]*corev1.Node
	network    map[string]*networkingv1.NetworkPolicy
	cluster    map[string]*netpol.ClusterNetworkPolicy
	e          *policy.Engine
	made       map[string][2][]string // ids of groups and sections by what they are for
	undo       []func()
}

func newCluster(t *testing.T, rnd *rand.Rand) *cluster {
	return &cluster{
		t: t, rnd: rnd, namespaces: map[string]*corev1.Namespace{}, pods: map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{},
		network: map[string]*networkingv1.NetworkPolicy{}, cluster: map[string]*netpol.ClusterNetworkPolicy{},
		e: policy.NewEngine(policy.Config{Default: policy.Allow}), made: map[string][2][]string{},
	}
}

// replace makes what the Engine holds for one object what it should be.
func (c *cluster) replace(key string, groups []policy.Group, sections []policy.Section) {
	var now [2][]string
	for _, g := range groups {
		require.NoError(c.t, c.e.SetGroup(g))
		now[0] = append(now[0], g.ID)
	}
	for _, s := range sections {
		require.NoError(c.t, c.e.SetSection(s))
		now[1] = append(now[1], s.ID)
	}
	for _, id := range c.made[key][1] {
		if !slices.Contains(now[1], id) {
			c.e.DeleteSection(id)
		}
	}
	for _, id := range c.made[key][0] {
		if !slices.Contains(now[0], id) {
			c.e.DeleteGroup(id)
		}
	}
	c.made[key] = now
}

// put sets or, with nil, deletes an object, tells the Engine by apply, and
// notes the way back.
func put[T any](c *cluster, all map[string]*T, name string, obj *T, apply func(name string)) {
	old := all[name]
	set := func(x *T) {
		if x == nil {
			delete(all, name)
		} else {
			all[name] = x
		}
		apply(name)
	}
	c.undo = append(c.undo, func() { set(old) })
	set(obj)
}

func (c *cluster) applyPod(name string) {
	p := c.pods[name]
	if p == nil {
		c.e.DeleteMember("pod:" + name)
		return
	}
	m, ok := netpol.PodMember(p, c.namespaces[p.Namespace], netpol.Config{})
	if !ok {
		c.e.DeleteMember("pod:" + name)
		return
	}
	require.NoError(c.t, c.e.SetMember(m))
}

func (c *cluster) applyNamespace(name string) {
	for k, p := range c.pods {
		if p.Namespace == name {
			c.applyPod(k)
		}
	}
}

func (c *cluster) applyNode(name string) {
	n := c.nodes[name]
	if n == nil {
		c.e.DeleteMember("node:" + name)
		return
	}
	require.NoError(c.t, c.e.SetMember(netpol.NodeMember(n, netpol.Config{})))
}

func (c *cluster) applyNetwork(name string) {
	np := c.network[name]
	if np == nil {
		c.replace("np "+name, nil, nil)
		return
	}
	groups, sections, err := netpol.Compile(np, netpol.Config{})
	require.NoError(c.t, err)
	c.replace("np "+name, groups, sections)
}

func (c *cluster) applyCluster(name string) {
	p := c.cluster[name]
	if p == nil {
		c.replace("cnp "+name, nil, nil)
		return
	}
	groups, sections, err := netpol.CompileCluster(p, netpol.Config{})
	require.NoError(c.t, err)
	c.replace("cnp "+name, groups, sections)
}

func (c *cluster) labels(keys ...string) map[string]string {
	l := map[string]string{}
	for _, k := range keys {
		if v := pick(c.rnd, "", "web", "db", "client", "front", "a", "production", "development"); v != "" {
			l[k] = v
		}
	}
	return l
}

func (c *cluster) pod(ns string, i int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprint("p", i), Labels: c.labels("app", "tier")}}
	p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.0.%d.%d", i/16, i%16)}, {IP: fmt.Sprintf("fd00::%x", i+1)}}
	p.Spec.HostNetwork = c.rnd.IntN(20) == 0
	ports := []corev1.ContainerPort{{Name: "http", ContainerPort: pick[int32](c.rnd, 80, 8080, 9090)}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}}
	p.Spec.Containers = []corev1.Container{{Ports: ports[:c.rnd.IntN(3)]}}
	return p
}

func (c *cluster) namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: c.labels("stage", "team")}}
}

var spaces = []string{"prod", "dev", "test"}

// change does one random thing.
func (c *cluster) change(step int) {
	rnd := c.rnd
	i := rnd.IntN(60 + 2*step)
	ns := spaces[i%len(spaces)]
	name := fmt.Sprintf("%s/p%d", ns, i)
	np, cnp := fmt.Sprint("n", rnd.IntN(8)), fmt.Sprint("c", rnd.IntN(5))
	what := rnd.IntN(10)
	c.steps = append(c.steps, fmt.Sprint(what, " ", name, " ", np, " ", cnp))
	switch what {
	case 0, 1, 2:
		put(c, c.pods, name, c.pod(ns, i), c.applyPod)
	case 3:
		put(c, c.pods, name, nil, c.applyPod)
	case 4:
		put(c, c.namespaces, ns, c.namespace(ns), c.applyNamespace)
	case 5:
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pick(rnd, "n1", "n2"), Labels: map[string]string{"zone": pick(rnd, "a", "b")}}}
		n.Status.Addresses = []corev1.NodeAddress{{Address: pick(rnd, "192.168.0.1", "192.168.0.2")}}
		put(c, c.nodes, n.Name, pick(rnd, n, n, nil), func(string) { c.applyNode(n.Name) })
	case 6, 7:
		p := randomPolicy(rnd, 0)
		p.Namespace, p.Name = pick(rnd, spaces...), np
		if old := c.network[np]; old != nil {
			p.Namespace = old.Namespace
		}
		put(c, c.network, np, pick(rnd, p, p, p, nil), c.applyNetwork)
	default:
		p := randomCluster(rnd, 0)
		p.Name = cnp
		put(c, c.cluster, cnp, pick(rnd, p, p, p, nil), c.applyCluster)
	}
}

// fresh is an Engine that gets the same objects, in another order.
func (c *cluster) fresh() *policy.Engine {
	o := &cluster{t: c.t, namespaces: c.namespaces, pods: c.pods, nodes: c.nodes, network: c.network, cluster: c.cluster,
		e: policy.NewEngine(policy.Config{Default: policy.Allow}), made: map[string][2][]string{}}
	var steps []func()
	note := func(names []string, apply func(string)) {
		for _, n := range names {
			steps = append(steps, func() { apply(n) })
		}
	}
	note(slices.Sorted(maps.Keys(c.pods)), o.applyPod)
	note(slices.Sorted(maps.Keys(c.nodes)), o.applyNode)
	note(slices.Sorted(maps.Keys(c.network)), o.applyNetwork)
	note(slices.Sorted(maps.Keys(c.cluster)), o.applyCluster)
	c.rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, s := range steps {
		s()
	}
	return o.e
}

// reference returns what documentation says of the objects.
func (c *cluster) reference() *reference {
	r := &reference{t: c.t}
	for _, k := range slices.Sorted(maps.Keys(c.pods)) {
		if m, ok := netpol.PodMember(c.pods[k], c.namespaces[c.pods[k].Namespace], netpol.Config{}); ok {
			r.pods = append(r.pods, m)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.nodes)) {
		r.nodes = append(r.nodes, netpol.NodeMember(c.nodes[k], netpol.Config{}))
	}
	for _, k := range slices.Sorted(maps.Keys(c.network)) {
		r.network = append(r.network, c.network[k])
	}
	for _, k := range slices.Sorted(maps.Keys(c.cluster)) {
		r.cluster = append(r.cluster, c.cluster[k])
	}
	return r
}

// packetOf goes between pods of a world, one and the same too, or to or from elsewhere.
func packetOf(rnd *rand.Rand, pods []policy.Member) policy.Packet {
	family := rnd.IntN(2)
	end := func(i int) (string, netip.Addr) {
		if i < len(pods) {
			return pods[i].ID, pods[i].IPs[family]
		}
		return "", netip.MustParseAddr([][]string{{"10.0.9.9", "192.168.0.1", "192.168.0.2"}, {"fd00:9::9", "fd00:9::1", "fd00:9::2"}}[family][i-len(pods)])
	}
	k := policy.Packet{Proto: pick[uint8](rnd, 6, 6, 17, 132), DstPortNo: pick[uint16](rnd, 53, 80, 8080, 8100, 9000, 9090)}
	k.SrcPort, k.Src = end(rnd.IntN(len(pods) + 3))
	k.DstPort, k.Dst = end(rnd.IntN(len(pods) + 3))
	return k
}

// text is the program of some ports, to the byte.
func text(t *testing.T, e *policy.Engine, ports []string) string {
	raw, err := json.Marshal(e.Program(ports))
	require.NoError(t, err)
	return string(raw)
}

func (c *cluster) check(counts map[bool]int) {
	ref := c.reference()
	if len(ref.pods) < 2 {
		return
	}
	ports := make([]string, len(ref.pods))
	for i, m := range ref.pods {
		ports[i] = m.ID
	}
	some := ports[:min(6, len(ports))]
	fresh := c.fresh()
	require.Equal(c.t, text(c.t, fresh, some), text(c.t, c.e, some), "steps %s", c)
	require.Empty(c.t, c.e.Missing())
	evaluator, program := policy.NewEvaluator(c.e.Objects()), c.e.Program(ports)
	for range 30 {
		k := packetOf(c.rnd, ref.pods)
		want, got := ref.allowed(k), program.Eval(k)
		counts[want]++
		require.Equal(c.t, want, got.Allowed(), "packet %+v: %s\nsteps %s", k, got.Why, c)
		require.Equal(c.t, got, evaluator.Eval(k), "packet %+v\nsteps %s", k, c)
	}
}

func (c *cluster) String() string { return strings.Join(c.steps, "; ") }

// Whatever changes, one thing after another: what an Engine has then is what it
// makes of the same objects from scratch, in any order, and what the documentation
// says; and it is what it was when all is undone.
func TestWorlds(t *testing.T) {
	counts := map[bool]int{}
	n := world.Worlds(t, 100)
	for seed := range n {
		rnd := rand.New(rand.NewPCG(seed, 7))
		c := newCluster(t, rnd)
		for _, ns := range spaces {
			c.namespaces[ns] = c.namespace(ns)
		}
		for i := range 50 + rnd.IntN(150) {
			ns := spaces[i%len(spaces)]
			put(c, c.pods, fmt.Sprintf("%s/p%d", ns, i), c.pod(ns, i), c.applyPod)
		}
		for i := range 6 {
			c.change(i)
		}
		c.steps = []string{fmt.Sprint("seed ", seed)}
		c.undo = nil
		var ports []string
		for _, m := range c.reference().pods {
			ports = append(ports, m.ID)
		}
		before := text(t, c.e, ports)
		for i := range 24 {
			c.change(i)
			if i%8 == 7 {
				c.check(counts)
			}
		}
		for _, back := range slices.Backward(c.undo) {
			back()
		}
		require.Equal(t, before, text(t, c.e, ports), "undone: %s", c)
	}
	t.Log(counts)
	if n >= 100 {
		require.Greater(t, min(counts[true], counts[false]), 500)
	}
}
