package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// names lists documents as "3:Pod a/b".
func names(docs []document) []string {
	var out []string
	for _, d := range docs {
		out = append(out, fmt.Sprintf("%d:%s", d.line, d.ref))
	}
	return out
}

func TestParseFile_Documents(t *testing.T) {
	const ns = "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n"
	a, b := fmt.Sprintf(ns, "a"), fmt.Sprintf(ns, "b")
	for text, want := range map[string][]string{
		"":                                 nil,
		"# nothing but a remark":           nil,
		"---\n---\n":                       nil,
		a:                                  {"1:Namespace a"},
		a + "---\n" + b:                    {"1:Namespace a", "5:Namespace b"},
		"---\n" + a + "---\n\n\n---\n" + b: {"2:Namespace a", "9:Namespace b"},
		a + "---   \n" + b:                 {"1:Namespace a", "5:Namespace b"},
		a + "--- # the second\n" + b:       {"1:Namespace a", "4:Namespace b"},
		a + "...\n---\n" + b:               {"1:Namespace a", "6:Namespace b"},
		strings.ReplaceAll(a+"---\n"+b, "\n", "\r\n"):                                                                   {"1:Namespace a", "5:Namespace b"},
		`--- {apiVersion: v1, kind: Namespace, metadata: {name: a}}`:                                                    {"1:Namespace a"},
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}`:                                                      {"1:Pod default/p"},
		"{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\":\"p\",\"namespace\":\"a\"}\n}\n": {"1:Pod a/p"},
		"\ufeff" + a: {"1:Namespace a"},
		"apiVersion: tierloom.io/v1alpha1\nkind: Group\nmetadata: {name: g}\nspec: {expression: {condition: {scope: a, values: [b]}}}\n":                                {"1:Group g"},
		"apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\nspec: {tier: Admin, priority: 1, subject: {namespaces: {}}}\n": {"1:ClusterNetworkPolicy c"},
		"apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    text: |\n      ---\n      more\n":                                                         {"1:Pod default/p"},
	} {
		docs, faults := parseFile("f.yaml", []byte(text))
		require.Empty(t, faults, text)
		require.Equal(t, want, names(docs), text)
	}
}

func TestParseFile_Faults(t *testing.T) {
	meta := func(kind, meta string) string { return "apiVersion: v1\nkind: " + kind + "\nmetadata: " + meta + "\n" }
	ok := meta("Namespace", "{name: ok}")
	for _, c := range []struct{ text, want string }{
		{"a: [\n", "f.yaml:1: "},
		{ok + "---\na: b\n c: d\n", "f.yaml:5: "},
		{ok + "---\na: b\n c: d\n", "line 6: "}, // of the file, not of the document
		{ok + "---\n\n\na: 'x\n", "line 8"},
		{"just words\n", "f.yaml:1: want an object"},
		{"[1, 2]\n", "f.yaml:1: want an object"},
		{"{}", "kind: required"},
		{"kind: Pod\nmetadata: {name: p}\n", "apiVersion: required"},
		{meta("Deployment", "{name: d}"), "kind: Deployment of apiVersion v1 is not one that is read here"},
		{meta("List", "{}") + "items: []\n", "kind: List of apiVersion v1 is not one that is read here"},
		{meta("Pod", "{}"), "Pod: metadata.name: required"},
		{meta("Pod", "{generateName: p-}"), "Pod: metadata.name: required"},
		{meta("Pod", "{name: p, namspace: a}"), `Pod p: `},
		{meta("Pod", "{name: p, namspace: a}"), `unknown field "metadata.namspace"`},
		{meta("Pod", "{name: p}") + "spec: {nodeNme: n1}\n", `unknown field "spec.nodeNme"`},
		{meta("Pod", "{name: p}") + "spec: {nodeName: 7}\n", "nodeName"},
		{meta("Pod", "{name: p, name: q}"), `"name"`},
		{meta("Namespace", "{name: a, namespace: b}"), "Namespace a: metadata.namespace: Namespace objects have none"},
		{meta("Pod", "{name: Upper}"), "Pod Upper: metadata.name: "},
		{meta("Pod", "{name: a_b}"), "Pod a_b: metadata.name: "},
		{meta("Pod", "{name: ../../escape}"), "metadata.name: "},
		{meta("Pod", "{name: p, namespace: ../../escape}"), "Pod p: metadata.namespace: "},
		{meta("Pod", "{name: p, namespace: A}"), "Pod p: metadata.namespace: "},
		{meta("Namespace", "{name: a.b}"), "Namespace a.b: metadata.name: "},
		{meta("Namespace", "{name: "+strings.Repeat("a", 64)+"}"), "metadata.name: "},
		{meta("Pod", "{name: "+strings.Repeat("a", 250)+"}"), "metadata.name: 12 bytes too long for a file name"},
		{meta("Pod", "{name: "+strings.Repeat("a", 254)+"}"), "metadata.name: "},
		{"apiVersion: policy.networking.k8s.io/v1alpha1\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\n", "kind: ClusterNetworkPolicy of apiVersion policy.networking.k8s.io/v1alpha1 is not one that is read here"},
		{"apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\nspec: {ingress: [{ports: []}]}\n", `unknown field "spec.ingress[0].ports"`},
		{"apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c, namespace: a}\n", "metadata.namespace: ClusterNetworkPolicy objects have none"},
		{"apiVersion: tierloom.io/v1alpha1\nkind: Group\nmetadata: {name: g}\nspec: {adresses: []}\n", `unknown field "spec.adresses"`},
		{"apiVersion: tierloom.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: g}\nspec: {rules: [{acton: DROP}]}\n", "acton"},
		{"apiVersion: tierloom.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: g}\nspec: {rules: [{action: EXPLODE}]}\n", "EXPLODE"},
		{"a: &a [x,x]\nb: &b [*a,*a]\nkind: *b\n", "f.yaml:1: "},
		{"\x00\x01\x02", "f.yaml:1: "},
	} {
		_, faults := parseFile("f.yaml", []byte(c.text))
		require.Len(t, faults, 1, c.text)
		require.Contains(t, faults[0].Error(), c.want, c.text)
		docs, faults := parseFile("f.yaml", []byte(c.text+"\n---\n"+ok))
		require.Len(t, faults, 1, c.text)
		require.Equal(t, "Namespace ok", docs[len(docs)-1].ref.String(), "the document after the fault: %s", c.text)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\n--- # x\n...\n"))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"ports":[{"port":80}]}}`))
	f.Add([]byte("a: &a [b]\nc: *a\n---\n\t"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		docs, faults := parseFile("f.yaml", raw)
		lines := strings.Count(string(raw), "\n") + 1
		for _, d := range docs {
			ref, ok := refOf(fileName(d.ref))
			require.True(t, ok)
			require.Equal(t, d.ref, ref, "a status belongs to one object")
			require.LessOrEqual(t, d.line, lines+1)
		}
		for _, x := range faults {
			require.NotEmpty(t, x.Err)
			require.LessOrEqual(t, x.Line, lines+1)
		}
	})
}
