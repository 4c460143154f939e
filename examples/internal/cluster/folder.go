package cluster

import (
	"cmp"
	"context"
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

	// files by base name, and what the cache holds; only Run touches them.
	files map[string]file
	known map[Ref]metav1.Object

	faultMu sync.Mutex
	faults  []Fault
}

const (
	// settle is how long a folder must be quiet before it is read, so that a
	// file written in several steps is read once.
	settle = 15 * time.Millisecond
	// rescan bounds how long a lost notification, or a folder that is never
	// quiet, can hide a change.
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
	return f.loop(ctx, w.Events, w.Errors, report)
}

// loop reads the folder when it has been quiet for a moment after a change,
// and every now and then.
func (f *Folder) loop(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, report func([]Ref)) error {
	timer := time.NewTimer(rescan)
	defer timer.Stop()
	latest := time.Now().Add(rescan)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if !strings.HasPrefix(filepath.Base(e.Name), ".") {
				timer.Reset(min(settle, time.Until(latest)))
			}
		case err := <-errs:
			f.log.Warn("folder watch", "err", err)
		case <-timer.C:
			refs, err := f.scan()
			if err != nil {
				f.log.Error("folder scan", "err", err)
			}
			report(refs)
			timer.Reset(rescan)
			latest = time.Now().Add(rescan)
		}
	}
}

// scan reads what changed and returns the names of changed objects. An object
// whose status cannot be had stays as it was.
func (f *Folder) scan() ([]Ref, error) {
	if err := f.readFiles(); err != nil {
		return nil, err
	}
	docs, faults := f.merge()
	if f.cfg.Writer {
		faults = append(faults, f.sweep(docs)...)
	}
	now := map[Ref]metav1.Object{}
	for ref, d := range docs {
		s, ok, err := f.statusFor(ref, d.obj)
		if err != nil {
			faults = append(faults, Fault{d.file, d.line, err.Error()})
			if old, known := f.known[ref]; known {
				now[ref] = old
			}
			continue
		}
		if ok {
			now[ref] = withStatus(d.obj, s)
		}
	}
	for ref, err := range deriveSlices(now) {
		faults = append(faults, Fault{docs[ref].file, docs[ref].line, err.Error()})
	}
	f.setFaults(faults)
	return f.replace(now), nil
}

// sweep forgets the status of objects that the folder no longer has, so that
// one created again under the same name is another object.
func (f *Folder) sweep(docs map[Ref]document) []Fault {
	refs, err := f.list()
	if err != nil {
		return []Fault{{File: f.cfg.Status, Err: err.Error()}}
	}
	var faults []Fault
	for _, ref := range refs {
		if _, ok := docs[ref]; ok {
			continue
		}
		if err := f.remove(ref); err != nil {
			faults = append(faults, Fault{File: f.file(ref), Err: err.Error()})
		}
	}
	return faults
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
// no slice of their own, as the EndpointSlice controller would. It returns what
// is wrong with the pods of a service, which has the slices of the others.
func deriveSlices(now map[Ref]metav1.Object) map[Ref]error {
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
	faults := map[Ref]error{}
	for ref, o := range now {
		svc, ok := o.(*corev1.Service)
		if !ok || len(svc.Spec.Selector) == 0 || own[svc.Namespace+"/"+svc.Name] {
			continue
		}
		slices, err := kube.SlicesFor(svc, pods[svc.Namespace])
		if err != nil {
			faults[ref] = err
		}
		derived = append(derived, slices...)
	}
	for _, s := range derived {
		now[Ref{KindEndpointSlice, s.Namespace, s.Name}] = s
	}
	return faults
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

// setFaults keeps the faults, by file and line, and logs them when they changed.
func (f *Folder) setFaults(faults []Fault) {
	slices.SortFunc(faults, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Err, b.Err))
	})
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
