package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
)

// A folderTest is a folder of manifests that is read when the test says so.
type folderTest struct {
	*Folder
	t    *testing.T
	ctx  context.Context
	tick int // orders changes of files by their times
}

func newFolderTest(t *testing.T) *folderTest {
	dir := t.TempDir()
	f := &folderTest{t: t, ctx: t.Context()}
	cfg := FolderConfig{Manifests: filepath.Join(dir, "in"), Status: filepath.Join(dir, "status"), Writer: true}
	require.NoError(t, os.Mkdir(cfg.Manifests, 0o755))
	require.NoError(t, os.Mkdir(cfg.Status, 0o755))
	f.Folder = NewFolder(cfg)
	return f
}

// process returns another process over the same folders.
func (f *folderTest) process(writer bool) *folderTest {
	cfg := f.cfg
	cfg.Writer = writer
	return &folderTest{Folder: NewFolder(cfg), t: f.t, ctx: f.ctx}
}

// write replaces a manifest; no text removes it.
func (f *folderTest) write(name, text string) {
	f.t.Helper()
	file := filepath.Join(f.cfg.Manifests, name)
	if text == "" {
		require.NoError(f.t, os.Remove(file))
		return
	}
	require.NoError(f.t, os.WriteFile(file, []byte(text), 0o644))
	f.tick++
	require.NoError(f.t, os.Chtimes(file, time.Time{}, time.Unix(int64(f.tick), 0)))
}

// read reads the folder and returns the names that changed, sorted.
func (f *folderTest) read() []string {
	f.t.Helper()
	refs, err := f.scan()
	require.NoError(f.t, err)
	return sorted(refs)
}

func sorted(refs []Ref) []string {
	var out []string
	for _, r := range refs {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return out
}

func (f *folderTest) uid(namespace, name string) string {
	f.t.Helper()
	p, ok := f.Cache().Pod(namespace, name)
	require.True(f.t, ok, "pod %s/%s", namespace, name)
	require.NotEmpty(f.t, p.UID)
	return string(p.UID)
}

// faultsAre wants exactly these faults, each by a part of its text.
func (f *folderTest) faultsAre(parts ...string) {
	f.t.Helper()
	faults := f.Faults()
	require.Len(f.t, faults, len(parts), "%v", faults)
	for i, p := range parts {
		require.Contains(f.t, faults[i].Error(), p)
	}
}

func pod(namespace, name string, more ...string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {namespace: %s, name: %s, labels: {app: web}}\n%s\n---\n", namespace, name, strings.Join(more, "\n"))
}

func ref(namespace, name string) Ref { return Ref{KindPod, namespace, name} }

const broken = "apiVersion: v1\nkind: Pod\nmetadata: {name: q\n"

func TestFolder_FaultKeepsLastGood(t *testing.T) {
	for name, bad := range map[string]string{
		"syntax":        broken,
		"unknown field": pod("a", "p", "spec: {nodeNme: n2}"),
		"unknown kind":  "apiVersion: v1\nkind: Pud\nmetadata: {name: p}\n",
		"binary":        "\x00\x01",
	} {
		f := newFolderTest(t)
		f.write("a.yaml", pod("a", "p", "spec: {nodeName: n1}"))
		f.write("b.yaml", pod("a", "other"))
		require.Equal(t, []string{"Pod a/other", "Pod a/p"}, f.read(), name)
		uid := f.uid("a", "p")

		f.write("a.yaml", "# two\n# lines\n---\n"+bad)
		f.write("b.yaml", pod("a", "other")+pod("a", "third"))
		require.Equal(t, []string{"Pod a/third"}, f.read(), "%s: the rest of the folder is applied", name)
		f.faultsAre("a.yaml:4: ")
		require.Equal(t, uid, f.uid("a", "p"), name)
		require.Empty(t, f.read(), "%s: nothing changes by itself", name)
		f.faultsAre("a.yaml:4: ")

		for _, writer := range []bool{true, false} {
			again := f.process(writer)
			require.Equal(t, []string{"Pod a/other", "Pod a/p", "Pod a/third"}, again.read(), "%s: a new process goes on with the last good", name)
			require.Equal(t, uid, again.uid("a", "p"), name)
			again.faultsAre("a.yaml:4: ")
		}

		f.write("a.yaml", pod("a", "p", "spec: {nodeName: n2}"))
		require.Equal(t, []string{"Pod a/p"}, f.read(), "%s: heals", name)
		f.faultsAre()
		p, _ := f.Cache().Pod("a", "p")
		require.Equal(t, "n2", p.Spec.NodeName)
		require.Equal(t, uid, f.uid("a", "p"), name)
	}
}

func TestFolder_OneDocumentAtFaultHoldsUpNoOther(t *testing.T) {
	f := newFolderTest(t)
	f.write("a.yaml", pod("a", "p", "spec: {nodeName: n1}")+pod("a", "q"))
	f.read()
	f.write("a.yaml", pod("a", "p", "spec: {nodeNme: n2}")+pod("a", "q", "spec: {nodeName: n2}")+pod("a", "r"))
	require.Equal(t, []string{"Pod a/q", "Pod a/r"}, f.read())
	f.faultsAre(`a.yaml:1: Pod p: unknown field "spec.nodeNme"`)
	p, _ := f.Cache().Pod("a", "p")
	require.Equal(t, "n1", p.Spec.NodeName)
}

func TestFolder_DuplicateNamesBothPlaces(t *testing.T) {
	f := newFolderTest(t)
	f.write("b.yaml", "# first\n---\n"+pod("a", "p", "spec: {nodeName: b}"))
	f.read()
	uid := f.uid("a", "p")
	f.write("c.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"a","name":"p"},"spec":{"nodeName":"c"}}`)
	require.Empty(t, f.read())
	f.faultsAre("c.json:1: Pod a/p: already defined in b.yaml:3")
	f.write("b.yaml", pod("a", "p")+pod("a", "p"))
	f.read()
	f.faultsAre("b.yaml:6: Pod a/p: already defined in b.yaml:1", "c.json:1: Pod a/p: already defined in b.yaml:1")
	f.write("b.yaml", "")
	require.Equal(t, []string{"Pod a/p"}, f.read())
	f.faultsAre()
	p, _ := f.Cache().Pod("a", "p")
	require.Equal(t, "c", p.Spec.NodeName)
	require.Equal(t, uid, f.uid("a", "p"), "the object moved, it is the same")
}

func TestFolder_Files(t *testing.T) {
	f := newFolderTest(t)
	dir := f.cfg.Manifests
	f.write("empty.yaml", " ")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "none.yaml"), nil, 0o644))
	f.write("p.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"json"}}`)
	f.write("p.yml", pod("a", "yml"))
	f.write(".hidden.yaml", broken)
	f.write("p.txt", broken)
	f.write("p.yaml~", broken)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o755))
	require.NoError(t, os.Symlink("p.yml", filepath.Join(dir, "link.txt")))
	require.Equal(t, []string{"Pod a/yml", "Pod default/json"}, f.read())
	f.faultsAre()

	f.write("huge.yaml", pod("a", "huge"))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o644))
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "dir.yaml")))
	require.NoError(t, os.Symlink("loop.yaml", filepath.Join(dir, "loop.yaml")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "nowhere.yaml")))
	require.Equal(t, []string{"Pod a/huge"}, f.read())
	f.faultsAre("dir.yaml: d", "loop.yaml: ", "pipe.yaml: p")
	require.NoError(t, os.Truncate(filepath.Join(dir, "huge.yaml"), maxManifest+1))
	require.Empty(t, f.read(), "the last good counts")
	f.faultsAre("dir.yaml", fmt.Sprintf("huge.yaml: %d bytes: at most %d are read", maxManifest+1, maxManifest), "loop.yaml", "pipe.yaml")

	for _, name := range []string{"dir.yaml", "loop.yaml", "pipe.yaml", "huge.yaml"} {
		f.write(name, "")
	}
	f.write("dir.yaml", pod("a", "healed"))
	require.Equal(t, []string{"Pod a/healed", "Pod a/huge"}, f.read())
	f.faultsAre()
	_, ok := f.Cache().Pod("a", "huge")
	require.False(t, ok)
	f.write("p.yml", "# all gone")
	require.Equal(t, []string{"Pod a/yml"}, f.read())
}

func TestFolder_MissingFolderDeletesNothing(t *testing.T) {
	f := newFolderTest(t)
	f.write("a.yaml", pod("a", "p"))
	f.read()
	uid := f.uid("a", "p")
	away := f.cfg.Manifests + ".away"
	require.NoError(t, os.Rename(f.cfg.Manifests, away))
	_, err := f.scan()
	require.ErrorContains(t, err, f.cfg.Manifests)
	require.Equal(t, uid, f.uid("a", "p"))
	require.NoError(t, os.Rename(away, f.cfg.Manifests))
	require.Empty(t, f.read())
	require.Equal(t, uid, f.uid("a", "p"))
}

func TestFolder_UIDs(t *testing.T) {
	w := newFolderTest(t)
	r := w.process(false)
	w.write("a.yaml", pod("a", "p")+strings.Replace(pod("a", "fixed"), "name:", "uid: given, name:", 1))
	require.Empty(t, r.read(), "without a UID there is no object for a reader")
	w.read()
	require.Equal(t, []string{"Pod a/fixed", "Pod a/p"}, r.read())
	require.Equal(t, w.uid("a", "p"), r.uid("a", "p"))
	require.Equal(t, "given", r.uid("a", "fixed"))

	first := w.uid("a", "p")
	w2 := w.process(true)
	w2.read()
	require.Equal(t, first, w2.uid("a", "p"), "a restart keeps UIDs")

	require.NoError(t, w2.Annotate(t.Context(), ref("a", "p"), first, map[string]string{"k": "v"}))
	w2.write("a.yaml", "# gone")
	require.Equal(t, []string{"Pod a/fixed", "Pod a/p"}, w2.read())
	require.Equal(t, []string{"Pod a/fixed", "Pod a/p"}, r.read())
	require.NoError(t, w2.Annotate(t.Context(), ref("a", "p"), first, map[string]string{"k": "late"}))
	w2.tick++
	w2.write("a.yaml", pod("a", "p"))
	require.Empty(t, r.read(), "what was said of the old one is not for the new")
	w2.read()
	r.read()
	require.NotEqual(t, first, w2.uid("a", "p"))
	require.Equal(t, w2.uid("a", "p"), r.uid("a", "p"))
	p, _ := r.Cache().Pod("a", "p")
	require.Empty(t, p.Annotations)
	require.NoError(t, w2.Annotate(t.Context(), ref("a", "p"), first, map[string]string{"k": "late"}))
	require.Empty(t, w2.read(), "nor is what is said of it later")
}

func TestFolder_StatusAtFaultChangesNothing(t *testing.T) {
	f := newFolderTest(t)
	f.write("a.yaml", pod("a", "p")+pod("a", "q"))
	f.read()
	uid := f.uid("a", "p")
	status := f.file(ref("a", "p"))
	good, err := os.ReadFile(status)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(status, []byte("{"), 0o644))
	require.Empty(t, f.read())
	f.faultsAre("a.yaml:1: " + status)
	require.Equal(t, uid, f.uid("a", "p"))

	again := f.process(true)
	require.Equal(t, []string{"Pod a/q"}, again.read(), "starts without the one")
	again.faultsAre("a.yaml:1: " + status)
	require.NoError(t, os.WriteFile(status, good, 0o644))
	require.Equal(t, []string{"Pod a/p"}, again.read())
	require.Equal(t, uid, again.uid("a", "p"))
	again.faultsAre()
}

// ready makes the pod's port realized, as NCP would.
func (f *folderTest) ready(name, address string) {
	f.t.Helper()
	uid := f.uid("a", name)
	cif := CIF{
		UID: uid, Addresses: []netip.Prefix{netip.MustParsePrefix(address)}, Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		MAC: "02:00:00:00:00:01", VLAN: 7,
	}
	require.NoError(f.t, f.Annotate(f.ctx, ref("a", name), uid, map[string]string{AnnotationCIF: cif.Annotation()}))
}

// endpoints lists those of service a/s as "10.0.0.2" or "10.0.0.3 not ready".
func (f *folderTest) endpoints() []string {
	var out []string
	for _, s := range f.Cache().EndpointSlices("a", "s") {
		for _, e := range s.Endpoints {
			text := e.Addresses[0]
			if e.Conditions.Ready == nil || !*e.Conditions.Ready {
				text += " not ready"
			}
			out = append(out, text)
		}
	}
	return out
}

func TestFolder_EndpointSlicesFollowPods(t *testing.T) {
	f := newFolderTest(t)
	const service = "apiVersion: v1\nkind: Service\nmetadata: {namespace: a, name: s}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n"
	f.write("s.yaml", service)
	f.write("p.yaml", pod("a", "p")+pod("a", "q")+pod("b", "elsewhere"))
	f.read()
	require.Empty(t, f.endpoints())
	f.ready("p", "10.0.0.2/24")
	changed := f.read()
	require.Len(t, changed, 2, "%v", changed)
	require.Contains(t, changed[0], "EndpointSlice a/s-")
	require.Equal(t, []string{"10.0.0.2"}, f.endpoints())
	f.ready("q", "10.0.0.3/24")
	f.read()
	require.Equal(t, []string{"10.0.0.2", "10.0.0.3"}, f.endpoints())
	require.Empty(t, f.read(), "derived alike each time")

	unready := "status: {phase: Running, podIPs: [{ip: 10.0.0.3}], conditions: [{type: Ready, status: 'False'}]}"
	f.write("p.yaml", pod("a", "p")+pod("a", "q", unready))
	f.read()
	require.Equal(t, []string{"10.0.0.2", "10.0.0.3 not ready"}, f.endpoints())

	f.write("p.yaml", pod("a", "p")+pod("a", "q", "status: {phase: Running, podIPs: [{ip: ten}]}"))
	f.read()
	f.faultsAre("s.yaml:1: ")
	require.Equal(t, []string{"10.0.0.2"}, f.endpoints(), "one pod at fault, the others serve")

	f.write("e.yaml", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"+
		"metadata: {namespace: a, name: mine, labels: {kubernetes.io/service-name: s}}\nendpoints: [{addresses: [192.0.2.9], conditions: {ready: true}}]\n")
	f.read()
	require.Equal(t, []string{"192.0.2.9"}, f.endpoints(), "a service with slices of its own gets none")
	f.write("e.yaml", "")
	f.write("s.yaml", strings.Replace(service, "selector: {app: web}, ", "", 1))
	f.read()
	require.Empty(t, f.endpoints(), "no selector, no slices")
}

func TestFolder_Events(t *testing.T) {
	f := newFolderTest(t)
	f.write("a.yaml", pod("a", "p"))
	f.read()
	uid := f.uid("a", "p")
	events := func() []Event {
		s, err := ReadStatus(f.cfg.Status, ref("a", "p"))
		require.NoError(t, err)
		return s.Events
	}
	for range 3 {
		require.NoError(t, f.Event(t.Context(), ref("a", "p"), uid, "R", "same"))
	}
	require.Len(t, events(), 1)
	require.NoError(t, f.Event(t.Context(), ref("a", "p"), "another", "R", "not it"))
	require.Len(t, events(), 1)
	for i := range 2 * maxEvents {
		require.NoError(t, f.Event(t.Context(), ref("a", "p"), uid, "R", fmt.Sprint(i)))
	}
	require.Len(t, events(), maxEvents)
	require.Equal(t, fmt.Sprint(2*maxEvents-1), events()[maxEvents-1].Message)
	s, err := ReadStatus(f.cfg.Status, ref("a", "nobody"))
	require.NoError(t, err)
	require.Equal(t, Status{}, s)
}

// A file written in steps is read once it is whole; a folder that is never
// quiet is read all the same.
func TestFolder_Settles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolderTest(t)
		var logged bytes.Buffer
		f.log = slog.New(slog.NewTextHandler(&logged, nil))
		ctx, cancel := context.WithCancel(t.Context())
		events, ended := make(chan fsnotify.Event), make(chan error)
		var readings atomic.Int64
		go func() { ended <- f.loop(ctx, events, nil, func([]Ref) { readings.Add(1) }) }()

		text := pod("a", "p", "spec: {nodeName: n1}") + pod("a", "q")
		file := filepath.Join(f.cfg.Manifests, "a.yaml")
		for end := range len(text) {
			require.NoError(t, os.WriteFile(file, []byte(text[:end]), 0o644))
			events <- fsnotify.Event{Name: file, Op: fsnotify.Write}
			time.Sleep(settle / 2)
		}
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		events <- fsnotify.Event{Name: file, Op: fsnotify.Write}
		require.Zero(t, readings.Load())
		time.Sleep(2 * settle)
		synctest.Wait()
		require.EqualValues(t, 1, readings.Load())
		require.Empty(t, logged.String(), "no half of it was read")
		require.Len(t, f.Cache().Refs(), 2)

		events <- fsnotify.Event{Name: filepath.Join(f.cfg.Manifests, ".a.yaml.swp"), Op: fsnotify.Write}
		time.Sleep(2 * settle)
		synctest.Wait()
		require.EqualValues(t, 1, readings.Load(), "hidden files are nobody's")

		f.write("b.yaml", pod("a", "r"))
		for range int(2 * rescan / (settle / 2)) {
			events <- fsnotify.Event{Name: file, Op: fsnotify.Write}
			time.Sleep(settle / 2)
		}
		require.Len(t, f.Cache().Refs(), 3)
		require.LessOrEqual(t, readings.Load(), int64(4))
		cancel()
		require.NoError(t, <-ended)
	})
}

// Whatever is done to the folder, what a new process makes of it is what the
// running one has: the same objects with the same UIDs. An object that stayed
// kept its UID, one made again has another.
func TestFolder_RandomChanges(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 0))
		var steps []string
		f := newFolderTest(t)
		uids := map[Ref]string{} // reference: by what the steps said
		used := map[string]bool{}
		good := map[string][]string{} // file to the pods of its last good content
		for range 30 {
			name := fmt.Sprintf("f%d.yaml", rng.IntN(3))
			var text string
			var pods []string
			for _, p := range []string{"p", "q", "r"} {
				if rng.IntN(2) == 0 {
					pods = append(pods, strings.TrimSuffix(name, ".yaml")+p)
					text += pod("a", pods[len(pods)-1])
				}
			}
			switch _, exists := good[name]; {
			case rng.IntN(4) == 0 && exists:
				f.write(name, "")
				delete(good, name)
				steps = append(steps, "remove "+name)
			case rng.IntN(3) == 0:
				f.write(name, broken)
				steps = append(steps, "break "+name)
			default:
				f.write(name, "#\n"+text)
				good[name] = pods
				steps = append(steps, fmt.Sprint("write ", name, " ", pods))
			}
			if rng.IntN(4) == 0 {
				tick := f.tick
				f = f.process(true)
				f.tick = tick
				steps = append(steps, "restart")
			}
			f.read()
			why := fmt.Sprintf("seed %d\n%s", seed, strings.Join(steps, "\n"))
			want := map[Ref]bool{}
			for _, pods := range good {
				for _, p := range pods {
					want[ref("a", p)] = true
				}
			}
			have := map[Ref]bool{}
			for _, r := range f.Cache().Refs() {
				have[r] = true
				uid := f.uid(r.Namespace, r.Name)
				if old, ok := uids[r]; ok {
					require.Equal(t, old, uid, why)
				} else {
					require.False(t, used[uid], why)
				}
				uids[r], used[uid] = uid, true
			}
			maps.DeleteFunc(uids, func(r Ref, _ string) bool { return !have[r] })
			require.Equal(t, want, have, why)
		}
	}
}
