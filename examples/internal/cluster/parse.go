package cluster

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/examples/internal/manifest"
	"github.com/tierloom/tierloom/policy/netpol"
)

// A Fault is a manifest document that could not be used.
type Fault struct {
	File string `json:"file"`
	Line int    `json:"line"` // first line of the document; 0 is the whole file
	Err  string `json:"error"`
}

// Error returns "pods.yaml:12: ...", or "pods.yaml: ..." of a whole file.
func (f Fault) Error() string {
	if f.Line == 0 {
		return f.File + ": " + f.Err
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Err)
}

// A document is one object of a manifest file.
type document struct {
	ref  Ref
	file string
	line int
	obj  metav1.Object
}

// newObject returns an empty object for a type, and whether the kind has namespaces.
func newObject(t metav1.TypeMeta) (obj metav1.Object, namespaced bool, err error) {
	switch t.APIVersion + " " + t.Kind {
	case "v1 Namespace":
		return &corev1.Namespace{}, false, nil
	case "v1 Node":
		return &corev1.Node{}, false, nil
	case "v1 Pod":
		return &corev1.Pod{}, true, nil
	case "v1 Service":
		return &corev1.Service{}, true, nil
	case "discovery.k8s.io/v1 EndpointSlice":
		return &discoveryv1.EndpointSlice{}, true, nil
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}, true, nil
	case netpol.ClusterAPIVersion + " " + KindClusterNetworkPolicy:
		return &ClusterNetworkPolicy{}, false, nil
	case APIVersion + " Group":
		return &Group{}, false, nil
	case APIVersion + " SecurityPolicy":
		return &SecurityPolicy{}, false, nil
	}
	switch {
	case t.Kind == "":
		return nil, false, errors.New("kind: required")
	case t.APIVersion == "":
		return nil, false, errors.New("apiVersion: required")
	}
	return nil, false, fmt.Errorf("kind: %s of apiVersion %s is not one that is read here", t.Kind, t.APIVersion)
}

// Parse returns the good objects of a manifest, in order, and the faults of
// the other documents.
func Parse(name string, raw []byte) ([]metav1.Object, []Fault) {
	docs, faults := parseFile(name, raw)
	objs := make([]metav1.Object, len(docs))
	for i, d := range docs {
		objs[i] = d.obj
	}
	return objs, faults
}

// parseFile returns the good documents of a manifest and the faults of the others.
func parseFile(name string, raw []byte) ([]document, []Fault) {
	var docs []document
	var faults []Fault
	for _, part := range manifest.Split(raw) {
		d, err := parseDocument(part.Text)
		if err != nil {
			faults = append(faults, Fault{name, part.Line, part.Error(err)})
			continue
		}
		if d.obj != nil {
			d.file, d.line = name, part.Line
			docs = append(docs, d)
		}
	}
	return docs, faults
}

// parseDocument returns a document with a nil obj for one that holds nothing.
// It is as strict as an API server that validates fields.
func parseDocument(text []byte) (document, error) {
	raw, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return document{}, err
	}
	if string(raw) == "null" {
		return document{}, nil
	}
	if raw[0] != '{' {
		return document{}, errors.New("want an object: a mapping with apiVersion, kind and metadata")
	}
	var t metav1.TypeMeta
	if err := json.UnmarshalCaseSensitivePreserveInts(raw, &t); err != nil {
		return document{}, err
	}
	obj, namespaced, err := newObject(t)
	if err != nil {
		return document{}, err
	}
	strict, err := json.UnmarshalStrict(raw, obj)
	if err := errors.Join(append(strict, err)...); err != nil {
		return document{}, fmt.Errorf("%s %s: %w", t.Kind, obj.GetName(), err)
	}
	switch {
	case obj.GetName() == "":
		return document{}, fmt.Errorf("%s: metadata.name: required", t.Kind)
	case !namespaced && obj.GetNamespace() != "":
		return document{}, fmt.Errorf("%s %s: metadata.namespace: %s objects have none", t.Kind, obj.GetName(), t.Kind)
	case namespaced && obj.GetNamespace() == "":
		obj.SetNamespace("default")
	}
	ref := Ref{t.Kind, obj.GetNamespace(), obj.GetName()}
	if err := checkNames(ref); err != nil {
		return document{}, fmt.Errorf("%s %s: %w", t.Kind, obj.GetName(), err)
	}
	return document{ref: ref, obj: obj}, nil
}

// checkNames wants names that an API server would take. They are also part of
// a file's name: see [statusDir.file].
func checkNames(ref Ref) error {
	name, valid := ref.Name, validation.IsDNS1123Subdomain
	if ref.Kind == KindNamespace {
		valid = validation.IsDNS1123Label
	}
	if faults := valid(name); len(faults) > 0 {
		return fmt.Errorf("metadata.name: %s", faults[0])
	}
	if ref.Namespace != "" {
		if faults := validation.IsDNS1123Label(ref.Namespace); len(faults) > 0 {
			return fmt.Errorf("metadata.namespace: %s", faults[0])
		}
	}
	if n := len(fileName(ref)); n > maxFileName {
		return fmt.Errorf("metadata.name: %d bytes too long for a file name", n-maxFileName)
	}
	return nil
}
