package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/examples/internal/child"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A pod is a network namespace attached to the fabric, with a workload in it
// that answers on the ports of the pod's containers.
type pod struct {
	namespace, name, node, uid string
	ip                         netip.Addr
	mac                        string
	vlan                       uint16
	tcp, udp                   []uint16
	labels                     map[string]string
	workload                   *child.Process
}

func (p *pod) String() string { return p.namespace + "/" + p.name }

// machine is the name of the pod's namespace. It carries the UID, as a
// sandbox of a pod created again is another one.
func (p *pod) machine() string { return "p-" + p.uid[:8] }

func (p *pod) containerID() string { return "sandbox-" + p.uid }

// cniEnv is the environment of the CNI specification, section 2.
func (l *Lab) cniEnv(command string, p *pod) []string {
	return append(os.Environ(),
		"CNI_COMMAND="+command, "CNI_CONTAINERID="+p.containerID(), "CNI_NETNS="+l.nsPath(p.machine()), "CNI_IFNAME=eth0",
		"CNI_PATH="+l.cfg.Bin,
		fmt.Sprintf("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s",
			p.namespace, p.name, p.containerID(), p.uid))
}

// cni executes the plugin on the pod's node, as its kubelet would.
func (l *Lab) cni(ctx context.Context, command string, p *pod) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(l.cfg.Bin, "cni"))
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = l.cniEnv(command, p), bytes.NewReader(l.netconf(p.node)), &out, os.Stderr
	err := ovstest.InNS(l.ns(p.node), cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return nil, fmt.Errorf("cni %s for pod %s: %w: %s", command, p, err, strings.TrimSpace(out.String()))
	}
	return out.Bytes(), nil
}

// startPods runs every pod of the manifests that is not running yet.
func (l *Lab) startPods(ctx context.Context, manifests []*corev1.Pod) error {
	errs := make(chan error, len(manifests))
	gate := make(chan struct{}, 4) // a kubelet starts a few at a time
	for _, m := range manifests {
		go func() {
			gate <- struct{}{}
			errs <- l.startPod(ctx, m)
			<-gate
		}()
	}
	var first error
	for range manifests {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// startPod makes the pod's sandbox, attaches it, and runs its workload.
func (l *Lab) startPod(ctx context.Context, m *corev1.Pod) error {
	uid, err := l.uid(ctx, cluster.Ref{Kind: cluster.KindPod, Namespace: m.Namespace, Name: m.Name})
	if err != nil {
		return err
	}
	p := &pod{namespace: m.Namespace, name: m.Name, node: m.Spec.NodeName, uid: uid, labels: m.Labels}
	for _, c := range m.Spec.Containers {
		for _, port := range c.Ports {
			if port.Protocol == corev1.ProtocolUDP {
				p.udp = append(p.udp, uint16(port.ContainerPort))
			} else {
				p.tcp = append(p.tcp, uint16(port.ContainerPort))
			}
		}
	}
	if err := l.newMachine(ctx, p.machine()); err != nil {
		return err
	}
	raw, err := l.cni(ctx, "ADD", p)
	if err != nil {
		return err
	}
	l.undo.push(func() error { return l.detachAtEnd(p) })
	if err := p.readResult(raw); err != nil {
		return err
	}
	if err := l.readVLAN(p); err != nil {
		return err
	}
	p.workload = l.workload(p)
	if err := p.workload.Start(); err != nil {
		return err
	}
	for _, port := range p.tcp {
		own := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
		err := l.wait(ctx, settling, p.String()+" listens", func() (bool, string) {
			_, err := l.probe(ctx, p.machine(), "tcp", own)
			return err == nil, errText(err)
		})
		if err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.pods[p.String()] = p
	l.mu.Unlock()
	return nil
}

// readResult takes the pod's address and MAC from the plugin's answer.
func (p *pod) readResult(raw []byte) error {
	var result struct {
		IPs        []struct{ Address netip.Prefix }
		Interfaces []struct{ Name, Mac, Sandbox string }
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return fmt.Errorf("cni ADD for pod %s: result: %w", p, err)
	}
	if len(result.IPs) == 0 {
		return fmt.Errorf("cni ADD for pod %s: no address in %s", p, raw)
	}
	p.ip = result.IPs[0].Address.Addr()
	for _, i := range result.Interfaces {
		if i.Sandbox != "" {
			p.mac = i.Mac
		}
	}
	return nil
}

// readVLAN takes the VLAN id, which no CNI result tells, from the pod's annotation.
func (l *Lab) readVLAN(p *pod) error {
	s, err := l.readStatus(cluster.Ref{Kind: cluster.KindPod, Namespace: p.namespace, Name: p.name})
	if err != nil {
		return err
	}
	var cif cluster.CIF
	if err := json.Unmarshal([]byte(s.Annotations[cluster.AnnotationCIF]), &cif); err != nil {
		return fmt.Errorf("pod %s: annotation %s: %w", p, cluster.AnnotationCIF, err)
	}
	p.vlan = cif.VLAN
	return nil
}

func (l *Lab) workload(p *pod) *child.Process {
	return &child.Process{
		Name: "workload " + p.String(), NetNS: l.nsPath(p.machine()), Log: filepath.Join(l.dir, "log", "pod-"+p.namespace+"-"+p.name+".log"),
		Argv: []string{filepath.Join(l.cfg.Bin, "lab"), "workload", "--name", p.String(), "--tcp", joinPorts(p.tcp), "--udp", joinPorts(p.udp)},
	}
}

func joinPorts(ports []uint16) string {
	s := make([]string, len(ports))
	for i, p := range ports {
		s[i] = strconv.Itoa(int(p))
	}
	return strings.Join(s, ",")
}

// stopPod ends a pod as a kubelet does: workload, DEL, sandbox.
func (l *Lab) stopPod(ctx context.Context, p *pod) error {
	p.workload.Kill()
	if _, err := l.cni(ctx, "DEL", p); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.pods, p.String())
	l.mu.Unlock()
	return ovstest.DeleteNS(ctx, l.ns(p.machine()))
}

// detachAtEnd stops a pod that still runs when the lab is taken down. The
// node's agent goes with its namespace, so there is no DEL.
func (l *Lab) detachAtEnd(p *pod) error {
	if p.workload != nil {
		p.workload.Kill()
	}
	return nil
}

// uid waits until NCP has given an object its UID.
func (l *Lab) uid(ctx context.Context, ref cluster.Ref) (string, error) {
	var uid string
	err := l.wait(ctx, settling, "UID of "+ref.String(), func() (bool, string) {
		s, err := l.readStatus(ref)
		uid = s.UID
		return uid != "", fmt.Sprint(err)
	})
	return uid, err
}

// readStatus reads what the cluster keeps beside an object.
func (l *Lab) readStatus(ref cluster.Ref) (cluster.Status, error) {
	return cluster.ReadStatus(l.status(), ref)
}

// podList returns the running pods by name, those that keep to all filters.
func (l *Lab) podList(keep ...func(*pod) bool) []*pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*pod
	for _, p := range l.pods {
		if !slices.ContainsFunc(keep, func(f func(*pod) bool) bool { return !f(p) }) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *pod) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// pod returns a running pod; naming one that is not is a fault of the lab.
func (l *Lab) pod(name string) *pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pods[name]
	if p == nil {
		panic("lab: no running pod " + name)
	}
	return p
}

func inNamespace(ns string) func(*pod) bool { return func(p *pod) bool { return p.namespace == ns } }

// wait polls until done reports true; the error tells what was seen last.
func (l *Lab) wait(ctx context.Context, most time.Duration, what string, done func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := done()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v: %s", what, most, seen)
		case <-tick.C:
		}
	}
}
