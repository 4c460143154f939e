package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
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
			faults = append(faults, Fault{name, part.line, inFile(err.Error(), part.line)})
			continue
		}
		if d.obj != nil {
			d.file, d.line = name, part.line
			docs = append(docs, d)
		}
	}
	return docs, faults
}

type part struct {
	line int
	text []byte
}

// splitDocuments cuts at the document markers "---" and "..." (YAML 1.2,
// section 9.1) and remembers where each part begins. What follows a marker on
// its line belongs to the next part.
func splitDocuments(raw []byte) []part {
	parts := []part{{line: 1}}
	for i, line := range bytes.SplitAfter(raw, []byte("\n")) {
		if rest, ok := cutMarker(line); ok {
			parts = append(parts, part{line: i + 1, text: rest})
			if len(bytes.TrimSpace(rest)) == 0 {
				parts[len(parts)-1] = part{line: i + 2}
			}
			continue
		}
		last := &parts[len(parts)-1]
		last.text = append(last.text, line...)
	}
	return parts
}

// cutMarker returns what follows a document marker that begins the line.
func cutMarker(line []byte) (rest []byte, ok bool) {
	for _, marker := range []string{"---", "..."} {
		rest, ok := bytes.CutPrefix(line, []byte(marker))
		if ok && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))) {
			return rest, true
		}
	}
	return nil, false
}

// yamlLine is where the YAML decoder says that a fault is.
var yamlLine = regexp.MustCompile(`(?m)(yaml: |^  )line (\d+):`)

// inFile turns lines that the decoder counted from the document's first into
// lines of the file.
func inFile(text string, first int) string {
	return yamlLine.ReplaceAllStringFunc(text, func(s string) string {
		m := yamlLine.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return s
		}
		return fmt.Sprintf("%sline %d:", m[1], n+first-1)
	})
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
