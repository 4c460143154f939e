package netpol_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
	"github.com/tierloom/tierloom/policy/netpol"
)

// A viewed is the objects of a cluster, as they change, and an engine with views
// that follows.
type viewed struct {
	e          *policy.Engine
	namespaces map[string][]policy.Tag
	pods       map[string]policy.Member
	policies   map[string]*networkingv1.NetworkPolicy
	tiers      map[string]*netpol.ClusterNetworkPolicy
}

var manyNamespaces = []string{"prod", "dev", "shop", "ops"}

func randomLabels(rnd *rand.Rand, keys ...string) []policy.Tag {
	var tags []policy.Tag
	for _, k := range keys {
		if rnd.IntN(3) > 0 {
			tags = append(tags, policy.Tag{Scope: k, Tag: pick(rnd, "web", "db", "front", "a", "client", "production", "development")})
		}
	}
	return tags
}

// newViewed returns a cluster of 50 to 200 pods.
func newViewed(rnd *rand.Rand) *viewed {
	c := &viewed{e: policy.NewEngine(policy.Config{Default: policy.Allow}), namespaces: map[string][]policy.Tag{}, pods: map[string]policy.Member{},
		policies: map[string]*networkingv1.NetworkPolicy{}, tiers: map[string]*netpol.ClusterNetworkPolicy{}}
	for _, ns := range manyNamespaces {
		c.namespaces[ns] = randomLabels(rnd, "stage", "team")
	}
	for n := range 50 + rnd.IntN(151) {
		c.pods[fmt.Sprint("pod-", n)] = c.pod(rnd, n)
	}
	for i := range rnd.IntN(12) {
		np := c.policy(rnd, i)
		c.policies[np.Name] = np
	}
	for i := range rnd.IntN(4) {
		cnp := randomCluster(rnd, i)
		c.tiers[cnp.Name] = cnp
	}
	return c
}

func (c *viewed) pod(rnd *rand.Rand, n int) policy.Member {
	ns := pick(rnd, manyNamespaces...)
	m := policy.Member{ID: fmt.Sprint("pod-", n), Kind: netpol.PodKind, Namespace: ns, NamespaceTags: c.namespaces[ns], Tags: randomLabels(rnd, "app", "tier"),
		IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n >> 7), byte(n&0x7f + 1)})}}
	if rnd.IntN(2) == 0 {
		m.Ports = map[string]policy.NamedPort{"http": {TCP: pick[uint16](rnd, 8080, 9090)}, "dns": {UDP: 53}}
	}
	return m
}

func (c *viewed) policy(rnd *rand.Rand, i int) *networkingv1.NetworkPolicy {
	np := randomPolicy(rnd, i)
	np.Namespace = pick(rnd, manyNamespaces...)
	return np
}

// objects are what each policy is compiled to.
func (c *viewed) objects(t testing.TB, np *networkingv1.NetworkPolicy, cnp *netpol.ClusterNetworkPolicy) ([]policy.Group, []policy.Section) {
	compile := func() ([]policy.Group, []policy.Section, error) { return netpol.Compile(np, netpol.Config{}) }
	if np == nil {
		compile = func() ([]policy.Group, []policy.Section, error) { return netpol.CompileCluster(cnp, netpol.Config{}) }
	}
	groups, sections, err := compile()
	require.NoError(t, err)
	return groups, sections
}

func putAll(t testing.TB, e *policy.Engine, groups []policy.Group, sections []policy.Section) {
	for _, g := range groups {
		require.NoError(t, e.SetGroup(g))
	}
	for _, s := range sections {
		require.NoError(t, e.SetSection(s))
	}
}

// swap puts what a policy is now in the place of what it was, in one of the
// orders in which its parts may arrive.
func (c *viewed) swap(t testing.TB, oldGroups []policy.Group, oldSections []policy.Section, groups []policy.Group, sections []policy.Section) {
	putAll(t, c.e, groups, sections)
	for _, s := range oldSections {
		if !slices.ContainsFunc(sections, func(x policy.Section) bool { return x.ID == s.ID }) {
			c.e.DeleteSection(s.ID)
		}
	}
	for _, g := range oldGroups {
		if !slices.ContainsFunc(groups, func(x policy.Group) bool { return x.ID == g.ID }) {
			c.e.DeleteGroup(g.ID)
		}
	}
}

// fill gives an engine all objects, in random order.
func (c *viewed) fill(t testing.TB, rnd *rand.Rand, e *policy.Engine) {
	var steps []func()
	for _, id := range slices.Sorted(maps.Keys(c.pods)) {
		steps = append(steps, func() { require.NoError(t, e.SetMember(c.pods[id])) })
	}
	for _, name := range slices.Sorted(maps.Keys(c.policies)) {
		steps = append(steps, func() { g, s := c.objects(t, c.policies[name], nil); putAll(t, e, g, s) })
	}
	for _, name := range slices.Sorted(maps.Keys(c.tiers)) {
		steps = append(steps, func() { g, s := c.objects(t, nil, c.tiers[name]); putAll(t, e, g, s) })
	}
	rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
	}
}

// change changes one thing.
func (c *viewed) change(t testing.TB, rnd *rand.Rand) {
	switch rnd.IntN(6) {
	case 0, 1: // a pod comes, or has other labels
		n := rnd.IntN(200)
		m := c.pod(rnd, n)
		c.pods[m.ID] = m
		require.NoError(t, c.e.SetMember(m))
	case 2: // a pod goes
		id := pick(rnd, slices.Sorted(maps.Keys(c.pods))...)
		delete(c.pods, id)
		c.e.DeleteMember(id)
	case 3: // a namespace has other labels
		ns := pick(rnd, manyNamespaces...)
		c.namespaces[ns] = randomLabels(rnd, "stage", "team")
		for _, id := range slices.Sorted(maps.Keys(c.pods)) {
			if m := c.pods[id]; m.Namespace == ns {
				m.NamespaceTags = c.namespaces[ns]
				c.pods[id] = m
				require.NoError(t, c.e.SetMember(m))
			}
		}
	case 4:
		name := fmt.Sprint("p", rnd.IntN(12))
		var og, g []policy.Group
		var os, s []policy.Section
		old := c.policies[name]
		if old != nil {
			og, os = c.objects(t, old, nil)
			delete(c.policies, name)
		}
		if old == nil || rnd.IntN(2) == 0 {
			np := c.policy(rnd, 0)
			np.Name = name
			c.policies[name] = np
			g, s = c.objects(t, np, nil)
		}
		c.swap(t, og, os, g, s)
	case 5:
		i := rnd.IntN(4)
		name := fmt.Sprint("c", i)
		var og, g []policy.Group
		var os, s []policy.Section
		old := c.tiers[name]
		if old != nil {
			og, os = c.objects(t, nil, old)
			delete(c.tiers, name)
		}
		if old == nil || rnd.IntN(2) == 0 {
			c.tiers[name] = randomCluster(rnd, i)
			g, s = c.objects(t, nil, c.tiers[name])
		}
		c.swap(t, og, os, g, s)
	}
}

// packet goes from one pod to another, or to itself.
func (c *viewed) packet(rnd *rand.Rand, ids []string) policy.Packet {
	from, to := c.pods[pick(rnd, ids...)], c.pods[pick(rnd, ids...)]
	return policy.Packet{SrcPort: from.ID, DstPort: to.ID, Src: from.IPs[0], Dst: to.IPs[0], Proto: pick[uint8](rnd, 6, 6, 17, 132, 1),
		SrcPortNo: 40000, DstPortNo: pick[uint16](rnd, 53, 80, 8080, 8100, 9000, 9090)}
}

func sameProgram(a, b *policy.Program) bool { c := policy.Diff(a, b); return c.IsZero() }

// In random clusters of 50 to 200 pods that change step by step: what views of
// hosts make of the changes is what is compiled from scratch, in whatever order
// the objects come; and both decide as the objects do, and a table of a port too.
func TestViews(t *testing.T) {
	n := world.Worlds(t, 40)
	counts := map[policy.Action]int{}
	for seed := range n {
		rnd := rand.New(rand.NewPCG(seed, 11))
		c := newViewed(rnd)
		c.fill(t, rnd, c.e)
		// Two hosts, of which the second may have pods that come later.
		hosts := [][]string{nil, nil}
		for i := range 200 {
			if h := rnd.IntN(8); h < 2 {
				hosts[h] = append(hosts[h], fmt.Sprint("pod-", i))
			}
		}
		views := []*policy.View{c.e.View(hosts[0]...), c.e.View(hosts[1]...)}
		programs := []*policy.Program{{}, {}}
		for step := range 4 {
			if step > 0 {
				for range 1 + rnd.IntN(3) {
					c.change(t, rnd)
				}
			}
			fresh := policy.NewEngine(policy.Config{Default: policy.Allow})
			c.fill(t, rnd, fresh)
			reference := policy.NewEvaluator(fresh.Objects())
			for h, v := range views {
				programs[h] = programs[h].With(v.Change())
				want := fresh.Program(hosts[h])
				require.True(t, sameProgram(want, programs[h]), "seed %d step %d host %d: %+v", seed, step, h, policy.Diff(want, programs[h]))
			}
			ids := slices.Sorted(maps.Keys(c.pods))
			all := fresh.Program(ids)
			for range 20 {
				k := c.packet(rnd, ids)
				want := reference.Eval(k)
				counts[want.Verdict]++
				require.Equal(t, want, c.e.Eval(k), "seed %d step %d: %s", seed, step, k)
				require.Equal(t, want, all.Eval(k), "seed %d step %d: %s", seed, step, k)
				if want.Egress != nil {
					require.Equal(t, *want.Egress, all.Table(k.SrcPort).Lookup(policy.Egress, &k), "seed %d step %d: %s", seed, step, k)
				}
				if want.Ingress != nil {
					require.Equal(t, *want.Ingress, all.Table(k.DstPort).Lookup(policy.Ingress, &k), "seed %d step %d: %s", seed, step, k)
				}
			}
		}
		for _, v := range views {
			v.Close()
		}
	}
	t.Log(counts)
	require.Greater(t, min(counts[policy.Allow], counts[policy.Drop]), int(n*4*20/20))
}
