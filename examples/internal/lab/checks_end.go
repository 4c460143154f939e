package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/draw"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// get asks a URL from the management machine.
func (l *Lab) get(ctx context.Context, url string) error {
	c := &http.Client{Transport: inNamespaceTransport(&http.Transport{DisableKeepAlives: true}, l.ns(mgr.name)), Timeout: 2 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, said)
	}
	return nil
}

// checkBadInput gives the fabric what it must refuse, and sees that the rest goes on.
func (l *Lab) checkBadInput(ctx context.Context) error {
	const group = "bad input"
	const good = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: heals\n"
	const bad = good + "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: typo\n  namespace: heals\nspec:\n  nodName: n1\n"
	if err := l.writeManifest("80-bad.yaml", bad); err != nil {
		return err
	}
	log := l.processes["ncp"].Log
	l.comes(ctx, group, "an unknown field is named with file and line", func() (bool, string) {
		raw, err := os.ReadFile(log)
		s := string(raw)
		return strings.Contains(s, "80-bad.yaml") && strings.Contains(s, "line=6") && strings.Contains(s, "nodName"), errText(err)
	})
	l.comes(ctx, group, "the rest of the file is applied", func() (bool, string) {
		objs, err := l.tagged(ctx, model.KindSegment, "ncp/project", "heals")
		return len(objs) == 1, errText(err)
	})
	fixed := strings.Replace(bad, "nodName: n1", "nodeName: nowhere", 1)
	if err := l.writeManifest("80-bad.yaml", fixed); err != nil {
		return err
	}
	ref := cluster.Ref{Kind: cluster.KindPod, Namespace: "heals", Name: "typo"}
	annotated := func(want string) func() (bool, string) {
		return func() (bool, string) {
			s, err := l.readStatus(ref)
			return strings.Contains(s.Annotations[cluster.AnnotationError], want), s.Annotations[cluster.AnnotationError] + errText(err)
		}
	}
	l.comes(ctx, group, "an unknown node is told to the pod", annotated(`no node "nowhere"`))
	if err := l.writeManifest("80-bad.yaml", strings.Replace(fixed, "nowhere", "n2", 1)); err != nil {
		return err
	}
	l.comes(ctx, group, "mended, it heals without a restart", func() (bool, string) {
		s, err := l.readStatus(ref)
		return s.Annotations[cluster.AnnotationCIF] != "" && s.Annotations[cluster.AnnotationError] == "", fmt.Sprint(s.Annotations, errText(err))
	})
	overlapping := filepath.Join(l.dir, "overlap.yaml")
	if err := os.WriteFile(overlapping, []byte("{resource_type: IpAddressBlock, id: twice, cidrs: [10.4.128.0/17]}\n"), 0o644); err != nil {
		return err
	}
	_, err := l.ctl(ctx, "apply", "-f", overlapping)
	l.holds(group, "overlapping blocks are refused by name", `an error naming 10.4.0.0/16 of "pods"`,
		err != nil && strings.Contains(err.Error(), "10.4.0.0/16") && strings.Contains(err.Error(), "pods"), "%v", err)
	if err := l.removeManifest("80-bad.yaml"); err != nil {
		return err
	}
	l.comes(ctx, group, "taken away again, nothing of it is left", func() (bool, string) {
		objs, err := l.tagged(ctx, "", "ncp/project", "heals")
		return err == nil && len(objs) == 0, fmt.Sprintf("%d objects %s", len(objs), errText(err))
	})
	return nil
}

// checkCleanup deletes a pod, a namespace, and in the end everything.
func (l *Lab) checkCleanup(ctx context.Context) error {
	const group = "cleanup"
	if err := l.draw(ctx); err != nil {
		return err
	}
	victim := l.pod("development/web-2")
	if err := l.editManifest("21-development.yaml", func(s string) string { return dropDocument(s, "name: web-2\n") }); err != nil {
		return err
	}
	if err := l.stopPod(ctx, victim); err != nil {
		return err
	}
	l.comes(ctx, group, "pod deleted: port, flows and leases gone", func() (bool, string) {
		objs, err := l.tagged(ctx, "", "ncp/pod", "web-2")
		flows := l.mentions(ctx, victim)
		leases, err2 := l.api.Allocations(ctx, clusterName+"/pod/"+victim.uid)
		return err == nil && err2 == nil && len(objs)+len(leases) == 0 && flows == "", fmt.Sprintf("%d objects, %d leases, flows %q", len(objs), len(leases), flows)
	})
	seg, err := l.segment(ctx, "billing")
	if err != nil {
		return err
	}
	for _, p := range l.podList(inNamespace("billing")) {
		if err := l.stopPod(ctx, p); err != nil {
			return err
		}
	}
	if err := l.removeManifest("22-billing.yaml"); err != nil {
		return err
	}
	if err := l.editManifest("10-namespaces.yaml", func(s string) string { return dropDocument(s, "name: billing\n") }); err != nil {
		return err
	}
	l.comes(ctx, group, "namespace deleted: listing by its tag is empty", func() (bool, string) {
		objs, err := l.tagged(ctx, "", "ncp/project", "billing")
		return err == nil && len(objs) == 0, fmt.Sprintf("%d objects %s", len(objs), errText(err))
	})
	return l.checkReuse(ctx, group, seg)
}

// checkReuse waits until a deleted namespace's subnet can be given again, and
// then deletes all that the cluster has.
func (l *Lab) checkReuse(ctx context.Context, group string, old model.Segment) error {
	var want = old.Subnets[0].Gateway.Masked()
	n := 0
	l.comes(ctx, group, "its subnet can be given again", func() (bool, string) {
		n++
		name := fmt.Sprintf("again-%d", n)
		_ = l.writeManifest("81-again.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: "+name+"\n  annotations: {ncp/no_snat: 'true'}\n")
		var got model.Segment
		err := l.wait(ctx, 2*time.Second, "segment", func() (bool, string) {
			var err error
			got, err = l.segment(ctx, name)
			return err == nil, errText(err)
		})
		if err != nil || len(got.Subnets) == 0 {
			return false, errText(err)
		}
		return got.Subnets[0].Gateway.Masked() == want, fmt.Sprintf("got %s, want %s", got.Subnets[0].Gateway.Masked(), want)
	})
	gone := l.podList()
	for _, p := range gone {
		if err := l.stopPod(ctx, p); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(l.manifests(), "*.yaml"))
	if err != nil {
		return err
	}
	slices.Reverse(files)
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	l.comes(ctx, group, "everything deleted: the manager holds no intent of the cluster and no lease", func() (bool, string) {
		objs, _, err := l.api.Intent.List(ctx, intent.Query{})
		left := slices.DeleteFunc(objs, func(o intent.Object) bool { _, made := model.TagValue(o.Tags, "ncp/created_for"); return !made })
		leases, err2 := l.api.Allocations(ctx, clusterName+"/")
		return err == nil && err2 == nil && len(left)+len(leases) == 0, fmt.Sprintf("%d objects, %d leases", len(left), len(leases))
	})
	l.comes(ctx, group, "hosts, nodes and edge hold no flow of a pod", func() (bool, string) {
		seen := l.mentions(ctx, gone...)
		return seen == "", seen
	})
	l.comes(ctx, group, "nodes hold no group", func() (bool, string) {
		for _, n := range nodes {
			if out, err := l.ofctl(ctx, n.name, "dump-groups"); err != nil || strings.Contains(out, "group_id") {
				return false, n.name + ": " + out + errText(err)
			}
		}
		return true, ""
	})
	l.comes(ctx, group, "the edge holds no NAT rule", func() (bool, string) {
		out, err := ovstest.Exec(ctx, l.ns(edgeNode.name), "nft", "list", "ruleset")
		return err == nil && !strings.Contains(out, "snat") && !strings.Contains(out, "dnat to") && !strings.Contains(out, "203.0.113"), out + errText(err)
	})
	return nil
}

// dropDocument removes the document that has a line from a manifest.
func dropDocument(manifest, line string) string {
	docs := strings.Split(manifest, "---\n")
	return strings.Join(slices.DeleteFunc(docs, func(d string) bool { return strings.Contains(d, "  "+line) }), "---\n")
}

// mentions returns the first flow on any switch that names a pod's address or MAC.
func (l *Lab) mentions(ctx context.Context, pods ...*pod) string {
	for _, m := range append(append([]machine{edgeNode}, hosts...), nodes...) {
		out, err := l.ofctl(ctx, m.name, "dump-flows")
		if err != nil {
			return err.Error()
		}
		for flow := range strings.Lines(out) {
			for _, p := range pods {
				if strings.Contains(flow, p.mac) || slices.ContainsFunc(strings.FieldsFunc(flow, func(r rune) bool {
					return !strings.ContainsRune("0123456789.", r)
				}), func(f string) bool { return f == p.ip.String() }) {
					return m.name + ": " + strings.TrimSpace(flow)
				}
			}
		}
	}
	return ""
}

// draw writes the picture of the topology, once.
func (l *Lab) draw(ctx context.Context) error {
	if l.drawn {
		return nil
	}
	objs, _, err := l.api.Intent.List(ctx, intent.Query{})
	if err != nil {
		return err
	}
	g, err := draw.Build(objs)
	if err != nil {
		return err
	}
	l.drawn = true
	return os.WriteFile(l.cfg.Picture, g.SVG(), 0o644)
}
