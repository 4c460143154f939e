package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// A Fault is a manifest document that could not be used.
type Fault struct {
	File string `json:"file"`
	Line int    `json:"line"` // first line of the document
	Err  string `json:"error"`
}

// Error returns "pods.yaml:12: ...".
func (f Fault) Error() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Err) }

// A document is one object of a manifest file.
type document struct {
	ref  Ref
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

// parseFile returns the good documents of a manifest and the faults of the others.
func parseFile(name string, raw []byte) ([]document, []Fault) {
	var docs []document
	var faults []Fault
	for _, part := range splitDocuments(raw) {
		d, err := parseDocument(part.text)
		if err != nil {
			faults = append(faults, Fault{name, part.line, err.Error()})
			continue
		}
		if d.obj != nil {
			d.line = part.line
			docs = append(docs, d)
		}
	}
	return docs, faults
}

type part struct {
	line int
	text []byte
}

// splitDocuments cuts at lines that are "---" and remembers where each part begins.
func splitDocuments(raw []byte) []part {
	parts := []part{{line: 1}}
	for i, line := range bytes.SplitAfter(raw, []byte("\n")) {
		if strings.TrimRight(string(line), " \t\r\n") == "---" {
			parts = append(parts, part{line: i + 2})
			continue
		}
		last := &parts[len(parts)-1]
		last.text = append(last.text, line...)
	}
	return parts
}

// parseDocument returns a document with a nil obj for one that holds nothing.
func parseDocument(raw []byte) (document, error) {
	var anything any
	if err := yaml.Unmarshal(raw, &anything); err != nil {
		return document{}, err
	}
	if anything == nil {
		return document{}, nil
	}
	var t metav1.TypeMeta
	if err := yaml.Unmarshal(raw, &t); err != nil {
		return document{}, err
	}
	obj, namespaced, err := newObject(t)
	if err != nil {
		return document{}, err
	}
	if err := yaml.UnmarshalStrict(raw, obj); err != nil {
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
	if faults := validation.IsDNS1123Subdomain(obj.GetName()); len(faults) > 0 {
		return document{}, fmt.Errorf("%s %s: metadata.name: %s", t.Kind, obj.GetName(), faults[0])
	}
	return document{ref: Ref{t.Kind, obj.GetNamespace(), obj.GetName()}, obj: obj}, nil
}
