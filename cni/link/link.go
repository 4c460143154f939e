package link

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Conditions, to be tested with errors.Is.
var (
	// ErrInvalid: the Spec asks for what cannot be.
	ErrInvalid = errors.New("invalid spec")
	// ErrNetNS: the path is no network namespace, or is the host's own.
	ErrNetNS = errors.New("no such sandbox namespace")
	// ErrForeign: an interface of the wanted name exists and is not ours.
	ErrForeign = errors.New("foreign interface")
	// ErrMismatch: the real state differs from the wanted one.
	ErrMismatch = errors.New("link differs")
)

// maxName is the longest interface name in bytes (IFNAMSIZ less the zero).
const maxName = 15

// Spec is the wanted state of one veth pair.
type Spec struct {
	// NetNS is the path of the sandbox's network namespace.
	NetNS string
	// IfName is the name inside the sandbox, HostIfName that on the host.
	IfName, HostIfName string
	// MAC is the sandbox end's address, 6 bytes, unicast; nil leaves the
	// kernel's choice.
	MAC net.HardwareAddr
	// Addresses are the sandbox end's addresses with the length of their
	// subnet; others of global scope are removed.
	Addresses []netip.Prefix
	// Gateway is where the default route of its family goes; zero for none.
	// It need not be inside a subnet of Addresses.
	Gateway netip.Addr
	// Routes are further routes, such as the default route of the other
	// family.
	Routes []Route
	// MTU of both ends in bytes, 68 to 65535; 0 means 1500.
	MTU int
}

// Route sends Dst via a gateway on the link, or straight to the link if Via is
// zero.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// Attached tells about a pair that Attach made or found.
type Attached struct {
	MAC       net.HardwareAddr // of the sandbox end
	HostMAC   net.HardwareAddr
	HostIndex int // interface index on the host
	MTU       int
	Changed   bool // whether anything had to be changed
}

// Link is a host end as List finds it.
type Link struct {
	Name  string
	Index int
	Up    bool
	MAC   net.HardwareAddr
	MTU   int
}

// Host is the network namespace the host ends live in: NetNS is its path, and
// the zero value the namespace of the calling thread. Embedders that run
// several nodes in one process need it; others use the package's functions.
type Host struct{ NetNS string }

// Attach makes the pair as the Spec wants it. It is idempotent. A veth of
// the name HostIfName that leads elsewhere is replaced; anything else that
// has one of the two names gives ErrForeign.
func Attach(ctx context.Context, s Spec) (Attached, error) { return Host{}.Attach(ctx, s) }

// Detach removes the pair whose host end has the name. That it is not there is
// no error; that it is no veth is ErrForeign.
func Detach(ctx context.Context, hostIfName string) error { return Host{}.Detach(ctx, hostIfName) }

// Check returns nil if the pair is as the Spec wants it, or every difference,
// joined, each wrapping ErrMismatch.
func Check(ctx context.Context, s Spec) error { return Host{}.Check(ctx, s) }

// List returns the host's veth ends whose name begins with prefix, by name.
func List(ctx context.Context, prefix string) ([]Link, error) { return Host{}.List(ctx, prefix) }

// HostName derives the host end's name from what identifies an attachment:
// prefix, then 64 bits (fewer with a prefix of more than two bytes) of a hash
// of container id and interface name. The same input gives the same name. It
// has at most 15 bytes; of prefix, the first seven count.
func HostName(prefix, containerID, ifName string) string {
	prefix = prefix[:min(len(prefix), 7)]
	sum := sha256.Sum256([]byte(containerID + "\x00" + ifName))
	text := strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:8]))
	return prefix + text[:min(len(text), maxName-len(prefix))]
}

// Validate reports every fault of the Spec, joined, each wrapping ErrInvalid
// and naming the field.
func (s Spec) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if !filepath.IsAbs(s.NetNS) {
		fault("NetNS %q is no absolute path", s.NetNS)
	}
	for _, f := range []struct{ field, name string }{{"IfName", s.IfName}, {"HostIfName", s.HostIfName}} {
		if !validName(f.name) {
			fault("%s %q cannot be an interface name", f.field, f.name)
		}
	}
	if s.IfName == "lo" {
		fault("IfName lo is the loopback interface")
	}
	if s.MAC != nil && (len(s.MAC) != 6 || s.MAC[0]&1 != 0 || slices.Max(s.MAC) == 0) {
		fault("MAC %s is no unicast Ethernet address", s.MAC)
	}
	if s.MTU != 0 && (s.MTU < 68 || s.MTU > 65535) {
		fault("MTU %d is not within 68 to 65535", s.MTU)
	}
	families := map[bool]bool{}
	for i, p := range s.Addresses {
		a := p.Addr()
		switch {
		case !p.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is4In6() || a.Zone() != "":
			fault("Addresses[%d] %s is no unicast address with a subnet length", i, p)
		case slices.Contains(s.Addresses[:i], p):
			fault("Addresses[%d] %s is given twice", i, p)
		}
		families[a.Is4()] = true
	}
	seen := map[netip.Prefix]bool{}
	for _, r := range s.routes() {
		switch {
		case !r.Dst.IsValid() || r.Dst != r.Dst.Masked() || r.Dst.Addr().Is4In6():
			fault("route destination %s is no network prefix", r.Dst)
		case r.Via.IsValid() && (r.Via.Is4() != r.Dst.Addr().Is4() || r.Via.IsUnspecified() || r.Via.IsMulticast() || r.Via.Is4In6() || r.Via.Zone() != ""):
			fault("route to %s has the gateway %s", r.Dst, r.Via)
		case seen[r.Dst]:
			fault("route to %s is given twice", r.Dst)
		case !families[r.Dst.Addr().Is4()]:
			fault("route to %s has no address of its family", r.Dst)
		}
		seen[r.Dst] = true
	}
	return errors.Join(faults...)
}

// routes returns Routes and the default route that Gateway stands for.
func (s Spec) routes() []Route {
	out := slices.Clone(s.Routes)
	if s.Gateway.IsValid() {
		dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if !s.Gateway.Is4() {
			dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		out = append(out, Route{Dst: dst, Via: s.Gateway})
	}
	return out
}

func (s Spec) mtu() int {
	if s.MTU == 0 {
		return 1500
	}
	return s.MTU
}

func validName(name string) bool {
	if name == "" || len(name) > maxName || name == "." || name == ".." {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == 0x7f || r == '%' })
}
