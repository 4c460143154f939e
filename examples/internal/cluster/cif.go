package cluster

import (
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Annotations that NCP writes.
const (
	AnnotationCIF   = "ncp/cif"
	AnnotationError = "ncp/error"
)

// A CIF is what the node agent needs to attach a pod: the pod's annotation
// [AnnotationCIF]. It is written once the host has the port with its rules.
type CIF struct {
	UID        string         `json:"uid"` // of the pod it was made for
	Addresses  []netip.Prefix `json:"ips"`
	MAC        string         `json:"mac"`
	Gateways   []netip.Addr   `json:"gateways"`
	VLAN       uint16         `json:"vlan"`
	MTU        int            `json:"mtu"`
	Generation uint64         `json:"generation"` // intent revision that the host realized
}

// ParseCIF reads the annotation of a pod. It returns false when there is none
// or when it was made for another pod of the same name.
func ParseCIF(p *corev1.Pod) (CIF, bool, error) {
	raw, ok := p.Annotations[AnnotationCIF]
	if !ok {
		return CIF{}, false, nil
	}
	var c CIF
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		return CIF{}, false, fmt.Errorf("pod %s/%s: annotation %s: %w", p.Namespace, p.Name, AnnotationCIF, err)
	}
	return c, c.UID == string(p.UID), nil
}

// Annotation returns the value of [AnnotationCIF].
func (c CIF) Annotation() string {
	raw, _ := json.Marshal(c) // every field is a value that marshals
	return string(raw)
}
