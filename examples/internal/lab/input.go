package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// readPods returns the pods that the manifests ask for. Every document at
// fault is named, and every pod that the fabric has no place for.
func readPods(manifests fs.FS) ([]*corev1.Pod, error) {
	names, err := fs.Glob(manifests, "*.yaml")
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	var errs []error
	at := map[string]string{} // pod to file
	for _, name := range names {
		raw, err := fs.ReadFile(manifests, name)
		if err != nil {
			return nil, err
		}
		objs, faults := cluster.Parse(name, raw)
		for _, f := range faults {
			errs = append(errs, f)
		}
		for _, o := range objs {
			p, ok := o.(*corev1.Pod)
			if !ok {
				continue
			}
			id := p.Namespace + "/" + p.Name
			if err := checkPod(p); err != nil {
				errs = append(errs, fmt.Errorf("%s: pod %s: %w", name, id, err))
			}
			if first, twice := at[id]; twice {
				errs = append(errs, fmt.Errorf("%s: pod %s: already defined in %s", name, id, first))
			}
			at[id] = name
			pods = append(pods, p)
		}
	}
	return pods, errors.Join(errs...)
}

// checkPod wants what the lab can run.
func checkPod(p *corev1.Pod) error {
	switch known := func(n machine) bool { return n.name == p.Spec.NodeName }; {
	case !slices.ContainsFunc(nodes, known):
		return fmt.Errorf("spec.nodeName: no node %q", p.Spec.NodeName)
	case p.UID != "":
		return errors.New("metadata.uid: the lab gives it")
	case p.Spec.HostNetwork:
		return errors.New("spec.hostNetwork: the lab runs none")
	}
	return nil
}

// checkBinaries names every program that the lab needs and does not find.
func checkBinaries(dir string) error {
	var errs []error
	for _, name := range []string{"manager", "ncp", "host-agent", "edge-agent", "node-agent", "cni", "tierloomctl", "lab"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			errs = append(errs, fmt.Errorf("binary %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// copyManifests adds files to the folder that NCP watches.
func (l *Lab) copyManifests(from fs.FS) error {
	names, err := fs.Glob(from, "*.yaml")
	if err != nil {
		return err
	}
	for _, name := range names {
		raw, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		if err := l.writeManifest(name, string(raw)); err != nil {
			return err
		}
	}
	return nil
}

// writeManifest replaces a manifest as an editor would: whole.
func (l *Lab) writeManifest(name, text string) error {
	tmp := filepath.Join(l.manifests(), "."+name)
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(l.manifests(), name))
}

// editManifest changes a manifest's text; a change that changes nothing is a
// fault of the lab.
func (l *Lab) editManifest(name string, edit func(string) string) error {
	raw, err := os.ReadFile(filepath.Join(l.manifests(), name))
	if err != nil {
		return err
	}
	text := edit(string(raw))
	if text == string(raw) {
		return fmt.Errorf("edit of %s changes nothing", name)
	}
	return l.writeManifest(name, text)
}

func (l *Lab) removeManifest(name string) error {
	return os.Remove(filepath.Join(l.manifests(), name))
}

// infrastructure is what an administrator makes before NCP starts.
func (l *Lab) infrastructure() string {
	var b strings.Builder
	shared := fmt.Sprintf("tags: [{scope: %s, tag: %s}]", model.DefaultScopes().Cluster, clusterName)
	doc := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n---\n", args...) }
	doc("{resource_type: Tier0, id: t0, display_name: tier-0, transit_vni: %d, %s}", transitVNI, shared)
	doc("{resource_type: IpAddressBlock, id: pods, cidrs: [%s], %s}", blockNAT, shared)
	doc("{resource_type: IpAddressBlock, id: routed, cidrs: [%s], tags: [{scope: ncp/cluster, tag: %s}, {scope: ncp/no_snat, tag: 'true'}]}", blockRoute, clusterName)
	doc("{resource_type: IpAddressPool, id: snat, cidrs: [%s], %s}", poolSNAT, shared)
	doc("{resource_type: IpAddressPool, id: lb, cidrs: [%s], tags: [{scope: ncp/cluster, tag: %s}, {scope: ncp/external, tag: 'true'}]}", poolLB, clusterName)
	for _, h := range hosts {
		doc("{resource_type: HostTransportNode, id: %s, tep: %s, role: host}", h.name, h.tep)
	}
	doc("{resource_type: HostTransportNode, id: %s, tep: %s, role: edge}", edgeNode.name, edgeNode.tep)
	for _, n := range nodes {
		doc("{resource_type: SegmentPort, id: %s, attachment: {type: PARENT, id: %s}, tags: [{scope: ncp/cluster, tag: %s}, {scope: ncp/node_name, tag: %s}]}",
			"vif-"+n.name, vnic(n.name), clusterName, n.name)
	}
	return strings.TrimSuffix(b.String(), "---\n")
}

// applyInfrastructure waits for the manager and gives it the administrator's objects.
func (l *Lab) applyInfrastructure(ctx context.Context) error {
	hc, err := proc.TLS{CA: l.pki.file("ca", "pem"), Cert: l.pki.file("tierloomctl", "pem"), Key: l.pki.file("tierloomctl", "key")}.HTTPClient()
	if err != nil {
		return err
	}
	hc.Transport = inNamespaceTransport(hc.Transport, l.ns(mgr.name))
	l.api = api.NewClient(l.managerURL, hc)
	err = l.wait(ctx, settling, "manager answers", func() (bool, string) {
		_, err := l.api.Status(ctx)
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return err
	}
	file := filepath.Join(l.dir, "infrastructure.yaml")
	if err := os.WriteFile(file, []byte(l.infrastructure()), 0o644); err != nil {
		return err
	}
	_, err = l.ctl(ctx, "apply", "-f", file)
	return err
}

// ctl runs tierloomctl on the management machine.
func (l *Lab) ctl(ctx context.Context, args ...string) (string, error) {
	argv := append([]string{filepath.Join(l.cfg.Bin, "tierloomctl"), "--manager", l.managerURL}, l.pki.flags("tierloomctl")...)
	return ovstest.Exec(ctx, l.ns(mgr.name), append(argv, args...)...)
}

// Down takes down the runs that other processes hold below root, by asking
// each to end, and waits until they have.
func Down(ctx context.Context, root string, say func(string)) error {
	if root == "" {
		root = "/run/tierloom"
	}
	files, err := filepath.Glob(filepath.Join(root, "*", pidFile))
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		say("taking down " + filepath.Base(filepath.Dir(f)))
		errs = append(errs, endHolder(ctx, f))
	}
	if len(files) == 0 {
		say("no lab is up")
	}
	return errors.Join(errs...)
}
