package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
// or when it was made for another pod of the same name; one that cannot be
// used is an error.
func ParseCIF(p *corev1.Pod) (CIF, bool, error) {
	raw, ok := p.Annotations[AnnotationCIF]
	if !ok {
		return CIF{}, false, nil
	}
	var c CIF
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		return CIF{}, false, fmt.Errorf("pod %s/%s: annotation %s: %w", p.Namespace, p.Name, AnnotationCIF, err)
	}
	if c.UID != string(p.UID) {
		return c, false, nil
	}
	if err := c.Validate(); err != nil {
		return CIF{}, false, fmt.Errorf("pod %s/%s: annotation %s: %w", p.Namespace, p.Name, AnnotationCIF, err)
	}
	return c, true, nil
}

// Validate names every fault: whoever may write to the pod may write this.
func (c CIF) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if mac, err := net.ParseMAC(c.MAC); err != nil || len(mac) != 6 {
		fault("mac %q: want one such as 02:00:00:00:00:01", c.MAC)
	}
	if c.VLAN < 1 || c.VLAN > 4094 {
		fault("vlan %d: want 1 to 4094", c.VLAN)
	}
	if len(c.Addresses) == 0 || len(c.Addresses) != len(c.Gateways) {
		fault("%d ips and %d gateways: want one or more, and as many of each", len(c.Addresses), len(c.Gateways))
		return errors.Join(errs...)
	}
	families := map[int]bool{}
	for i, a := range c.Addresses {
		family := a.Addr().BitLen()
		switch g := c.Gateways[i]; {
		case !a.IsValid():
			fault("ips[%d]: empty", i)
		case families[family]:
			fault("ips[%d] %s: a second of its family", i, a)
		case !a.Contains(g):
			fault("gateways[%d] %s: not in the subnet of %s", i, g, a)
		}
		families[family] = true
	}
	return errors.Join(errs...)
}

// Annotation returns the value of [AnnotationCIF].
func (c CIF) Annotation() string {
	raw, _ := json.Marshal(c) // every field is a value that marshals
	return string(raw)
}
