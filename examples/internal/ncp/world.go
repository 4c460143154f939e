package ncp

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// world is the manager's state as one cluster sees it. It is immutable.
type world struct {
	objects map[intent.Key]intent.Object
	// byKey holds the objects that carry our cluster's tag, by the key in
	// their tag created_for, sorted.
	byKey map[cluster.Ref][]intent.Object
	// keyOfPort finds the pod of one of our ports.
	keyOfPort map[string]cluster.Ref
	// owners are the lease owners that our objects name.
	owners map[string]bool
	// infra is what administrators made and we depend on.
	infra    []intent.Object
	realized map[string]model.RealizedPort // by port id
	scopes   model.Scopes
	cluster  string
}

func newWorld(objs []intent.Object, realized map[string]model.RealizedPort, cfg Config) world {
	w := world{
		objects: make(map[intent.Key]intent.Object, len(objs)),
		byKey:   map[cluster.Ref][]intent.Object{}, keyOfPort: map[string]cluster.Ref{}, owners: map[string]bool{},
		realized: realized, scopes: cfg.Scopes, cluster: cfg.Cluster,
	}
	for _, o := range objs {
		w.objects[o.Key()] = o
		key, made := model.TagValue(o.Tags, cfg.Scopes.CreatedFor)
		ref, ok := parseKey(key)
		switch {
		case made && ok && model.HasTag(o.Tags, cfg.Scopes.Cluster, cfg.Cluster):
			w.byKey[ref] = append(w.byKey[ref], o)
			if o.ResourceType == model.KindSegmentPort {
				w.keyOfPort[o.ID] = ref
			}
			if owner, ok := model.TagValue(o.Tags, cfg.Scopes.Owner); ok {
				w.owners[owner] = true
			}
		case !made && isInfra(o.ResourceType):
			w.infra = append(w.infra, o)
		}
	}
	for _, list := range w.byKey {
		slices.SortFunc(list, compareObjects)
	}
	slices.SortFunc(w.infra, compareObjects)
	return w
}

func isInfra(kind string) bool {
	switch kind {
	case model.KindTier0, model.KindBlock, model.KindPool, model.KindSegmentPort, model.KindHost:
		return true
	}
	return false
}

func compareObjects(a, b intent.Object) int {
	return cmp.Or(strings.Compare(a.ResourceType, b.ResourceType), strings.Compare(a.ID, b.ID))
}

func (w world) infraChanged(old world) bool {
	return !slices.EqualFunc(w.infra, old.infra, func(a, b intent.Object) bool {
		return a.Key() == b.Key() && a.Revision == b.Revision
	})
}

// changedKeys returns the keys whose objects differ from those of old.
func (w world) changedKeys(old world) []cluster.Ref {
	same := func(a, b intent.Object) bool { return a.Key() == b.Key() && a.Revision == b.Revision }
	var refs []cluster.Ref
	for ref, list := range w.byKey {
		if !slices.EqualFunc(list, old.byKey[ref], same) {
			refs = append(refs, ref)
		}
	}
	for ref := range old.byKey {
		if _, ok := w.byKey[ref]; !ok {
			refs = append(refs, ref)
		}
	}
	return refs
}

// find returns the administrator's objects of a kind that our cluster may
// use: those tagged with its name or as shared, and that pass also.
func (w world) find(kind string, also func(intent.Object) bool) []intent.Object {
	var out []intent.Object
	for _, o := range w.infra {
		_, shared := model.TagValue(o.Tags, w.scopes.Shared)
		if o.ResourceType == kind && (shared || model.HasTag(o.Tags, w.scopes.Cluster, w.cluster)) && also(o) {
			out = append(out, o)
		}
	}
	return out
}

// one is find for a thing of which there must be exactly one.
func (w world) one(kind, what string, also func(intent.Object) bool) (intent.Object, error) {
	found := w.find(kind, also)
	if len(found) == 1 {
		return found[0], nil
	}
	hint := fmt.Sprintf("tag one with %s=%s or %s=true", w.scopes.Cluster, w.cluster, w.scopes.Shared)
	if len(found) == 0 {
		return intent.Object{}, condition(kind+"Missing", "no %s: %s", what, hint)
	}
	ids := make([]string, len(found))
	for i, o := range found {
		ids[i] = o.ID
	}
	return intent.Object{}, condition(kind+"Ambiguous", "%d candidates for %s (%s): want one", len(found), what, strings.Join(ids, ", "))
}

func realizedPorts(objs []intent.Object) map[string]model.RealizedPort {
	out := make(map[string]model.RealizedPort, len(objs))
	for _, o := range objs {
		if r, err := model.Decode[model.RealizedPort](o); err == nil {
			out[o.ID] = r
		}
	}
	return out
}

// keyString is the value of the tag created_for.
func keyString(ref cluster.Ref) string { return ref.Kind + "/" + ref.Namespace + "/" + ref.Name }

func parseKey(s string) (cluster.Ref, bool) {
	f := strings.Split(s, "/")
	if len(f) != 3 || f[0] == "" || f[2] == "" {
		return cluster.Ref{}, false
	}
	return cluster.Ref{Kind: f[0], Namespace: f[1], Name: f[2]}, true
}

// liveOwners returns every lease owner that something stands for: an object
// of the cluster, an object of intent, or a port that a host still realizes.
func (c *Controller) liveOwners() map[string]bool {
	w := c.snapshot()
	live := maps.Clone(w.owners)
	for _, ref := range c.objs.Refs() {
		if owner, ok := c.ownerOf(ref); ok {
			live[owner] = true
		}
	}
	for id := range w.realized {
		if uid, ok := strings.CutPrefix(id, c.portID("")); ok {
			live[c.owner("pod", uid)] = true
		}
	}
	return live
}
