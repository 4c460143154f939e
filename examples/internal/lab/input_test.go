package lab

import (
	"encoding/json"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/manifest"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
)

func files(pairs ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func podDoc(name, more string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {namespace: a, name: " + name + "}\nspec: {" + more + "}\n---\n"
}

func TestReadPods(t *testing.T) {
	pods, err := readPods(files(
		"b.yaml", podDoc("p", "nodeName: n2")+"--- # next\n"+podDoc("q", "nodeName: n3"),
		"a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: first}\nspec: {nodeName: n1}\n",
		"readme.md", "kind: Pod", "sub/c.yaml", podDoc("hidden", "nodeName: n1"), // NCP does not read them either
	))
	require.NoError(t, err)
	var got []string
	for _, p := range pods {
		got = append(got, p.Namespace+"/"+p.Name+" "+p.Spec.NodeName)
	}
	require.Equal(t, []string{"default/first n1", "a/p n2", "a/q n3"}, got)
}

// Every fault is named, in one go, before anything is built.
func TestReadPods_Faults(t *testing.T) {
	_, err := readPods(files(
		"a.yaml", podDoc("p", "nodeName: n1")+"kind: [\n---\n"+podDoc("typo", "nodeNme: n1")+podDoc("lost", "nodeName: n9")+podDoc("nowhere", ""),
		"b.yaml", podDoc("p", "nodeName: n1")+podDoc("host", "nodeName: n1, hostNetwork: true")+
			strings.Replace(podDoc("fixed", "nodeName: n1"), "name: fixed", "name: fixed, uid: x", 1),
	))
	for _, want := range []string{
		"a.yaml:6: yaml: line 6", `a.yaml:8: Pod typo: unknown field "spec.nodeNme"`,
		`a.yaml: pod a/lost: spec.nodeName: no node "n9"`, `a.yaml: pod a/nowhere: spec.nodeName: no node ""`,
		"b.yaml: pod a/p: already defined in a.yaml", "b.yaml: pod a/host: spec.hostNetwork", "b.yaml: pod a/fixed: metadata.uid",
	} {
		require.ErrorContains(t, err, want)
	}
}

// What the lab is given is good, as NCP reads it.
func TestShippedManifests(t *testing.T) {
	dir := os.DirFS(filepath.Join("..", "..", "lab"))
	seen := map[string]string{}
	for _, folder := range []string{"manifests", "policies"} {
		sub, err := fs.Sub(dir, folder)
		require.NoError(t, err)
		names, err := fs.Glob(sub, "*.yaml")
		require.NoError(t, err)
		require.NotEmpty(t, names)
		_, err = readPods(sub)
		require.NoError(t, err)
		for _, name := range names {
			raw, err := fs.ReadFile(sub, name)
			require.NoError(t, err)
			objs, faults := cluster.Parse(name, raw)
			require.Empty(t, faults)
			for _, o := range objs {
				id := strings.Join([]string{typeOf(t, o), o.GetNamespace(), o.GetName()}, " ")
				require.Empty(t, seen[id], "%s: also in %s", id, name)
				seen[id] = name
			}
		}
	}
	for _, n := range nodes {
		require.NotEmpty(t, seen["Node  "+n.name], "a manifest for node %s", n.name)
	}
}

func typeOf(t *testing.T, o any) string {
	raw, err := json.Marshal(o)
	require.NoError(t, err)
	var kind struct{ Kind string }
	require.NoError(t, json.Unmarshal(raw, &kind))
	return kind.Kind
}

func TestCheckBinaries(t *testing.T) {
	dir := t.TempDir()
	err := checkBinaries(dir)
	require.ErrorContains(t, err, "binary manager: ")
	require.ErrorContains(t, err, filepath.Join(dir, "tierloomctl"))
	for _, name := range []string{"manager", "ncp", "host-agent", "edge-agent", "node-agent", "cni", "tierloomctl"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lab"), nil, 0o644))
	err = checkBinaries(dir)
	require.ErrorContains(t, err, "binary lab: ", "not to be executed")
	require.NotContains(t, err.Error(), "manager")
}

func TestManifestsOfARun(t *testing.T) {
	l := &Lab{dir: t.TempDir()}
	require.NoError(t, os.Mkdir(l.manifests(), 0o755))
	require.NoError(t, l.copyManifests(files("a.yaml", "one: 1\n", "b.txt", "no")))
	names, err := filepath.Glob(filepath.Join(l.manifests(), "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(l.manifests(), "a.yaml")}, names)
	require.NoError(t, l.editManifest("a.yaml", func(s string) string { return strings.Replace(s, "1", "2", 1) }))
	raw, err := os.ReadFile(filepath.Join(l.manifests(), "a.yaml"))
	require.NoError(t, err)
	require.Equal(t, "one: 2\n", string(raw))
	require.ErrorContains(t, l.editManifest("a.yaml", func(s string) string { return strings.Replace(s, "1", "2", 1) }), "edit of a.yaml changes nothing")
	require.ErrorContains(t, l.editManifest("none.yaml", strings.ToUpper), "none.yaml")
	require.NoError(t, l.removeManifest("a.yaml"))
	require.Error(t, l.removeManifest("a.yaml"))
}

func TestDropDocument(t *testing.T) {
	text := "a:\n  name: x\n---\nb:\n  name: y\n---\nc:\n  name: xy\n"
	require.Equal(t, "a:\n  name: x\n---\nc:\n  name: xy\n", dropDocument(text, "name: y"))
	require.Equal(t, text, dropDocument(text, "name: z"))
}

// What the administrator makes first is as the manager wants it: known kinds,
// known fields, addresses that no two share.
func TestInfrastructure(t *testing.T) {
	kinds := map[string]int{}
	var owned []netip.Prefix
	for _, part := range manifest.Split([]byte((&Lab{}).infrastructure())) {
		raw, err := yaml.YAMLToJSONStrict(part.Text)
		require.NoError(t, err, "line %d", part.Line)
		var o intent.Object
		require.NoError(t, json.Unmarshal(raw, &o), "line %d: %s", part.Line, raw)
		require.NoError(t, o.Validate())
		kinds[o.ResourceType]++
		switch o.ResourceType {
		case model.KindTier0:
			_, err = model.Decode[model.Tier0](o)
		case model.KindBlock:
			var b model.Block
			b, err = model.Decode[model.Block](o)
			owned = append(owned, b.CIDRs...)
		case model.KindPool:
			var p model.Pool
			p, err = model.Decode[model.Pool](o)
			owned = append(owned, p.CIDRs...)
		case model.KindHost:
			_, err = model.Decode[model.Host](o)
		case model.KindSegmentPort:
			_, err = model.Decode[model.Port](o)
		default:
			t.Fatalf("kind %q", o.ResourceType)
		}
		require.NoError(t, err)
	}
	require.Equal(t, map[string]int{
		model.KindTier0: 1, model.KindBlock: 2, model.KindPool: 2, model.KindHost: len(hosts) + 1, model.KindSegmentPort: len(nodes),
	}, kinds)
	owned = append(owned, routerUp.Masked(), routerExt.Masked(), netip.PrefixFrom(managerAddr.Addr(), mgmtBits).Masked(), netip.PrefixFrom(edgeNode.tep, tepBits).Masked())
	for i, p := range owned {
		for _, q := range owned[:i] {
			require.False(t, p.Overlaps(q), "%s and %s", p, q)
		}
	}
}

// The plan fits together.
func TestPlan(t *testing.T) {
	machines := append(append([]machine{mgr, edgeNode}, hosts...), nodes...)
	seen := map[string]string{}
	unique := func(what, who string) {
		require.Empty(t, seen[what], "%s: %s and %s", what, seen[what], who)
		seen[what] = who
	}
	mgmt, teps := netip.PrefixFrom(mgr.mgmt, mgmtBits), netip.PrefixFrom(edgeNode.tep, tepBits)
	for _, m := range machines {
		unique(m.name, m.name)
		unique(m.mgmt.String(), m.name)
		require.True(t, mgmt.Contains(m.mgmt), m.name)
		if m.tep.IsValid() {
			unique(m.tep.String(), m.name)
			require.True(t, teps.Contains(m.tep), m.name)
		}
		require.Equal(t, m.host != "", slices.ContainsFunc(hosts, func(h machine) bool { return h.name == m.host }), "%s is on %q", m.name, m.host)
		require.LessOrEqual(t, len(vnic(m.name)), 15, "a name of a network device")
	}
	require.Equal(t, mgr.mgmt, managerAddr.Addr())
	require.True(t, routerUp.Contains(edgeUp.Addr()) && routerExt.Contains(external.Addr()))
}
