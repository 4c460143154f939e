package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tierloom/tierloom/lb/kube"
)

// FolderConfig says where a [Folder] reads and keeps its state.
type FolderConfig struct {
	// Manifests is the folder of *.yaml, *.yml and *.json files.
	Manifests string
	// Status is the folder of what is kept beside the objects.
	Status string
	// Writer makes this process the one that gives objects their UIDs and
	// forgets those that are gone. Readers see only objects that have a UID.
	Writer bool
	// Log may be nil.
	Log *slog.Logger
}

// A Folder is a [Source] over a folder of manifests. Make one with [NewFolder].
type Folder struct {
	statusDir
	cfg   FolderConfig
	log   *slog.Logger
	cache *Cache

	files map[string]file // by base name; only Run touches it
	known map[Ref]metav1.Object

	faultMu sync.Mutex
	faults  []Fault
}

// file is what was last read of one manifest.
type file struct {
	size   int64
	mod    time.Time
	docs   []document
	faults []Fault
}

const (
	// settle is how long a folder must be quiet before it is read, so that a
	// file written in several steps is read once.
	settle = 15 * time.Millisecond
	// rescan bounds how long a lost notification can hide a change.
	rescan = 2 * time.Second
)

// NewFolder returns a source over cfg's folders, which must exist when it runs.
func NewFolder(cfg FolderConfig) *Folder {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Folder{
		statusDir: statusDir{path: cfg.Status}, cfg: cfg, log: log, cache: NewCache(),
		files: map[string]file{}, known: map[Ref]metav1.Object{},
	}
}

// Cache implements [Source].
func (f *Folder) Cache() *Cache { return f.cache }

// Faults returns the documents that could not be used at the last reading.
func (f *Folder) Faults() []Fault {
	f.faultMu.Lock()
	defer f.faultMu.Unlock()
	return slices.Clone(f.faults)
}

// Run implements [Source].
func (f *Folder) Run(ctx context.Context, synced func(), changed func(Ref)) error {
	if err := os.MkdirAll(f.cfg.Status, 0o755); err != nil {
		return err
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch manifests: %w", err)
	}
	defer w.Close()
	for _, dir := range []string{f.cfg.Manifests, f.cfg.Status} {
		if err := w.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	report := func(refs []Ref) {
		for _, r := range refs {
			changed(r)
		}
	}
	refs, err := f.scan()
	if err != nil {
		return err
	}
	synced()
	report(refs)
	timer := time.NewTimer(rescan)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if !strings.HasPrefix(filepath.Base(e.Name), ".") {
				timer.Reset(settle)
			}
		case err := <-w.Errors:
			f.log.Warn("folder watch", "err", err)
		case <-timer.C:
			refs, err := f.scan()
			if err != nil {
				f.log.Error("folder scan", "err", err)
			}
			report(refs)
			timer.Reset(rescan)
		}
	}
}

// scan reads what changed and returns the names of changed objects.
func (f *Folder) scan() ([]Ref, error) {
	if err := f.readFiles(); err != nil {
		return nil, err
	}
	now, faults := f.merge()
	var errs []error
	if f.cfg.Writer {
		errs = append(errs, f.sweep(now))
	}
	for ref, obj := range now {
		s, ok, err := f.statusFor(ref, obj)
		if err != nil {
			errs = append(errs, err)
		}
		if !ok {
			delete(now, ref)
			continue
		}
		now[ref] = withStatus(obj, s)
	}
	errs = append(errs, deriveSlices(now))
	f.setFaults(faults)
	return f.replace(now), errors.Join(errs...)
}

// readFiles brings f.files up to date with the folder.
func (f *Folder) readFiles() error {
	entries, err := os.ReadDir(f.cfg.Manifests)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" && ext != ".json" {
			continue
		}
		info, err := os.Stat(filepath.Join(f.cfg.Manifests, e.Name()))
		if err != nil {
			continue // removed since it was listed
		}
		seen[e.Name()] = true
		old, ok := f.files[e.Name()]
		if ok && old.size == info.Size() && old.mod.Equal(info.ModTime()) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(f.cfg.Manifests, e.Name()))
		if err != nil {
			continue
		}
		docs, faults := parseFile(e.Name(), raw)
		if len(faults) > 0 {
			docs = keepLastGood(docs, old.docs)
		}
		f.files[e.Name()] = file{info.Size(), info.ModTime(), docs, faults}
	}
	maps.DeleteFunc(f.files, func(name string, _ file) bool { return !seen[name] })
	return nil
}

// keepLastGood adds to docs what the file said before of objects it now has
// no good document for: a document at fault must not delete its object.
func keepLastGood(docs, old []document) []document {
	have := map[Ref]bool{}
	for _, d := range docs {
		have[d.ref] = true
	}
	for _, d := range old {
		if !have[d.ref] {
			docs = append(docs, d)
		}
	}
	return docs
}

// merge joins the files in the order of their names. The first document of
// an object counts; a second is a fault.
func (f *Folder) merge() (map[Ref]metav1.Object, []Fault) {
	objs := map[Ref]metav1.Object{}
	first := map[Ref]string{}
	var faults []Fault
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		faults = append(faults, f.files[name].faults...)
		for _, d := range f.files[name].docs {
			if at, ok := first[d.ref]; ok {
				faults = append(faults, Fault{name, d.line, fmt.Sprintf("%s: already defined in %s", d.ref, at)})
				continue
			}
			first[d.ref] = fmt.Sprintf("%s:%d", name, d.line)
			objs[d.ref] = d.obj
		}
	}
	return objs, faults
}

// sweep forgets the status of objects that the folder no longer has, so that
// one created again under the same name is another object.
func (f *Folder) sweep(now map[Ref]metav1.Object) error {
	refs, err := f.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		if _, ok := now[ref]; !ok {
			errs = append(errs, f.remove(ref))
		}
	}
	return errors.Join(errs...)
}

func (f *Folder) statusFor(ref Ref, obj metav1.Object) (Status, bool, error) {
	if f.cfg.Writer {
		s, err := f.ensure(ref, string(obj.GetUID()))
		return s, err == nil, err
	}
	return f.read(ref)
}

// withStatus returns a copy of the object with what an API server would add.
func withStatus(obj metav1.Object, s Status) metav1.Object {
	switch o := obj.(type) {
	case *corev1.Pod:
		o = o.DeepCopy()
		o.UID, o.Annotations = types.UID(s.UID), mergeAnnotations(o.Annotations, s.Annotations)
		if o.Status.Phase == "" {
			runPod(o)
		}
		return o
	case *corev1.Service:
		o = o.DeepCopy()
		o.UID, o.Annotations = types.UID(s.UID), mergeAnnotations(o.Annotations, s.Annotations)
		if s.LoadBalancer != "" {
			o.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: s.LoadBalancer}}
		}
		return o
	case *corev1.Namespace:
		o = o.DeepCopy()
		o.UID, o.Annotations = types.UID(s.UID), mergeAnnotations(o.Annotations, s.Annotations)
		return o
	}
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	o := c.Interface().(metav1.Object)
	o.SetUID(types.UID(s.UID))
	return o
}

func mergeAnnotations(own, added map[string]string) map[string]string {
	if len(added) == 0 {
		return own
	}
	m := maps.Clone(own)
	if m == nil {
		m = map[string]string{}
	}
	maps.Copy(m, added)
	return m
}

// runPod fills in the status that a kubelet would report for a pod whose
// port is realized: running, ready, with its addresses.
func runPod(p *corev1.Pod) {
	p.Status.Phase = corev1.PodPending
	cif, ok, err := ParseCIF(p)
	if err != nil || !ok || len(cif.Addresses) == 0 {
		return
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP = cif.Addresses[0].Addr().String()
	for _, a := range cif.Addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a.Addr().String()})
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
}

// deriveSlices adds the EndpointSlices of services that have a selector and
// no slice of their own, as the EndpointSlice controller would.
func deriveSlices(now map[Ref]metav1.Object) error {
	pods := map[string][]*corev1.Pod{}
	own := map[string]bool{}
	for _, o := range now {
		switch o := o.(type) {
		case *corev1.Pod:
			pods[o.Namespace] = append(pods[o.Namespace], o)
		case *discoveryv1.EndpointSlice:
			own[o.Namespace+"/"+o.Labels[discoveryv1.LabelServiceName]] = true
		}
	}
	for _, list := range pods {
		slices.SortFunc(list, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	}
	var derived []*discoveryv1.EndpointSlice
	var errs []error
	for _, o := range now {
		svc, ok := o.(*corev1.Service)
		if !ok || len(svc.Spec.Selector) == 0 || own[svc.Namespace+"/"+svc.Name] {
			continue
		}
		slices, err := kube.SlicesFor(svc, pods[svc.Namespace])
		derived, errs = append(derived, slices...), append(errs, err)
	}
	for _, s := range derived {
		now[Ref{KindEndpointSlice, s.Namespace, s.Name}] = s
	}
	return errors.Join(errs...)
}

// replace makes the cache hold now and returns the names that changed.
func (f *Folder) replace(now map[Ref]metav1.Object) []Ref {
	var changed []Ref
	for ref := range f.known {
		if _, ok := now[ref]; !ok {
			f.cache.Delete(ref)
			changed = append(changed, ref)
		}
	}
	for ref, obj := range now {
		if old, ok := f.known[ref]; !ok || !reflect.DeepEqual(old, obj) {
			f.cache.Set(ref, obj)
			changed = append(changed, ref)
		}
	}
	f.known = now
	return changed
}

func (f *Folder) setFaults(faults []Fault) {
	f.faultMu.Lock()
	changed := !slices.Equal(f.faults, faults)
	f.faults = faults
	f.faultMu.Unlock()
	if !changed {
		return
	}
	for _, x := range faults {
		f.log.Error("manifest", "file", x.File, "line", x.Line, "err", x.Err)
	}
}
