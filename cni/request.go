package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// Command is a value of CNI_COMMAND that reaches the agent. VERSION does not.
type Command string

// The commands of the CNI specification 1.1, section 2.
const (
	Add    Command = "ADD"
	Del    Command = "DEL"
	Check  Command = "CHECK"
	Status Command = "STATUS"
	GC     Command = "GC"
)

// Request is one CNI command. For STATUS and GC the fields that speak of an
// attachment are empty.
type Request struct {
	Command Command `json:"command"`
	// Network is the name of the network configuration.
	Network string `json:"network"`
	// CNIVersion is the version of the network configuration.
	CNIVersion string `json:"cniVersion,omitempty"`
	// ContainerID and IfName identify the attachment.
	ContainerID string `json:"containerID,omitempty"`
	IfName      string `json:"ifname,omitempty"`
	// NetNS is the path of the sandbox's network namespace. On DEL it is
	// empty when the namespace is gone.
	NetNS string `json:"netns,omitempty"`
	// Pod is what CNI_ARGS says about the pod; zero outside Kubernetes.
	Pod Pod `json:"pod,omitzero"`
	// Args are all pairs of CNI_ARGS, those of Pod included.
	Args map[string]string `json:"args,omitempty"`
	// RuntimeConfig is the runtimeConfig object of the configuration, as is.
	RuntimeConfig json.RawMessage `json:"runtimeConfig,omitempty"`
	// PrevResult is the result of the ADD, on CHECK and DEL, or of the plugin
	// before this one in the chain; nil if the runtime gave none.
	PrevResult *Result `json:"prevResult,omitempty"`
	// ValidAttachments are, on GC, the attachments that must stay.
	ValidAttachments []Attachment `json:"validAttachments,omitempty"`
}

// Attachment identifies one interface of one sandbox.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// Attachment returns the attachment the request is about.
func (r *Request) Attachment() Attachment {
	return Attachment{ContainerID: r.ContainerID, IfName: r.IfName}
}

// Validate reports every field that the specification does not allow for the
// command, as one *Error with CodeInvalidEnvironment that names the CNI_
// variables at fault.
func (r *Request) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format, args...))
	}
	switch r.Command {
	case Add, Del, Check:
		if err := ValidContainerID(r.ContainerID); err != nil {
			fault("CNI_CONTAINERID: %w", err)
		}
		if err := ValidIfName(r.IfName); err != nil {
			fault("CNI_IFNAME: %w", err)
		}
		switch {
		case r.NetNS == "" && r.Command != Del:
			fault("CNI_NETNS: missing")
		case r.NetNS != "" && (!filepath.IsAbs(r.NetNS) || len(r.NetNS) > 4095 || strings.ContainsRune(r.NetNS, 0)):
			fault("CNI_NETNS: %q is not an absolute path", clip(r.NetNS))
		}
	case GC:
		for i, a := range r.ValidAttachments {
			if err := ValidContainerID(a.ContainerID); err != nil {
				fault("cni.dev/valid-attachments[%d].containerID: %w", i, err)
			}
		}
	case Status:
	case "":
		fault("CNI_COMMAND: missing")
	default:
		fault("CNI_COMMAND: %q is unknown", clip(string(r.Command)))
	}
	if len(faults) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalidEnvironment, Msg: "invalid environment variables", Details: errors.Join(faults...).Error()}
}

// ValidContainerID checks the form the specification gives container ids.
func ValidContainerID(id string) error { return validName("container id", id) }

// ValidNetworkName checks the form the specification gives network names.
func ValidNetworkName(name string) error { return validName("network name", name) }

func validName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is missing", what)
	}
	if len(s) > 255 {
		return fmt.Errorf("%s has %d characters, more than 255", what, len(s))
	}
	for i, c := range []byte(s) {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			return fmt.Errorf("%s %q has %q at position %d", what, s, c, i)
		}
	}
	return nil
}

// ValidIfName checks that a Linux interface may have the name.
func ValidIfName(name string) error {
	switch {
	case name == "":
		return errors.New("interface name is missing")
	case len(name) > 15:
		return fmt.Errorf("interface name %q has %d bytes, more than 15", clip(name), len(name))
	case name == "." || name == "..":
		return fmt.Errorf("interface name %q is reserved", name)
	}
	for _, c := range []byte(name) {
		if c == '/' || c == ':' || c <= ' ' || c == 0x7f {
			return fmt.Errorf("interface name %q has %q", name, c)
		}
	}
	return nil
}

// clip bounds what an error message quotes.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// Result is the success result of the CNI specification 1.1, section 5, without
// cniVersion; the plugin executable converts it to the version asked for.
type Result struct {
	Interfaces []Interface `json:"interfaces,omitempty"`
	IPs        []IP        `json:"ips,omitempty"`
	Routes     []Route     `json:"routes,omitempty"`
	DNS        DNS         `json:"dns,omitzero"`
}

// Interface is one interface that ADD made. Sandbox is empty on the host side.
type Interface struct {
	Name    string `json:"name"`
	MAC     string `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"`
	Sandbox string `json:"sandbox,omitempty"`
}

// IP is one address that ADD assigned. Interface is an index into
// Result.Interfaces, or nil.
type IP struct {
	Interface *int         `json:"interface,omitempty"`
	Address   netip.Prefix `json:"address"`
	Gateway   netip.Addr   `json:"gateway,omitzero"`
}

// Route is one route that ADD made in the sandbox.
type Route struct {
	Dst netip.Prefix `json:"dst"`
	GW  netip.Addr   `json:"gw,omitzero"`
	MTU int          `json:"mtu,omitempty"`
}

// DNS is what a resolver in the sandbox should use.
type DNS struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}

// IsZero reports whether nothing is set.
func (d DNS) IsZero() bool {
	return len(d.Nameservers) == 0 && d.Domain == "" && len(d.Search) == 0 && len(d.Options) == 0
}

// Validate reports every field of a result that a runtime could not use.
func (r *Result) Validate() error {
	var faults []error
	for i, f := range r.Interfaces {
		if f.Name == "" {
			faults = append(faults, fmt.Errorf("interfaces[%d].name: missing", i))
		}
		if f.MAC != "" {
			if _, err := net.ParseMAC(f.MAC); err != nil {
				faults = append(faults, fmt.Errorf("interfaces[%d].mac: %w", i, err))
			}
		}
	}
	for i, ip := range r.IPs {
		if !ip.Address.IsValid() {
			faults = append(faults, fmt.Errorf("ips[%d].address: missing", i))
		}
		if n := ip.Interface; n != nil && (*n < 0 || *n >= len(r.Interfaces)) {
			faults = append(faults, fmt.Errorf("ips[%d].interface: %d of %d interfaces", i, *n, len(r.Interfaces)))
		}
	}
	for i, rt := range r.Routes {
		if !rt.Dst.IsValid() {
			faults = append(faults, fmt.Errorf("routes[%d].dst: missing", i))
		}
	}
	return errors.Join(faults...)
}
