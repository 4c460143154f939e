package policynft

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/tierloom/tierloom/policy"
)

// faults collects what is wrong with an input.
type faults []error

func (f *faults) add(what, format string, args ...any) {
	*f = append(*f, fmt.Errorf("policynft: %s: %s: %w", what, fmt.Sprintf(format, args...), ErrInvalid))
}

// check reports all faults of a program and its ports.
func check(prog *policy.Program, ports []Port) error {
	var f faults
	checkPorts(&f, ports)
	if d := prog.Default; d != policy.Allow && d != policy.Drop {
		f.add("program", "default %s", d)
	}
	seen := map[string]bool{}
	for i := range prog.Rules {
		r := &prog.Rules[i]
		if err := r.Validate(); err != nil {
			f = append(f, err)
		}
		if seen[r.ID] {
			f.add(fmt.Sprintf("rule %q", r.ID), "it is there twice")
		}
		seen[r.ID] = true
		if i > 0 && prog.Rules[i-1].Compare(*r) > 0 {
			f.add(fmt.Sprintf("rule %q", r.ID), "it comes after %q, to which it is prior", prog.Rules[i-1].ID)
		}
	}
	for id, list := range prog.Sets {
		checkSet(&f, id, list)
	}
	return errors.Join(f...)
}

func checkPorts(f *faults, ports []Port) {
	ids, names, addrs := map[string]bool{}, map[string]string{}, map[netip.Addr]string{}
	for _, p := range ports {
		what := fmt.Sprintf("port %q", p.ID)
		if p.ID == "" || ids[p.ID] {
			f.add(what, "its id is empty or there twice")
		}
		ids[p.ID] = true
		if n := len(p.Interface); n < 1 || n > maxInterface || strings.ContainsAny(p.Interface, "/\x00 ") {
			f.add(what, "%q is not the name of an interface", p.Interface)
		} else if other, ok := names[p.Interface]; ok {
			f.add(what, "interface %s is that of port %q", p.Interface, other)
		}
		names[p.Interface] = p.ID
		for _, a := range p.IPs {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				f.add(what, "%s is not the address of a port", a)
			} else if other, ok := addrs[a]; ok {
				f.add(what, "address %s is that of port %q", a, other)
			}
			addrs[a] = p.ID
		}
	}
}

// maxInterface is IFNAMSIZ (linux/if.h) less the terminator.
const maxInterface = 15

func checkPrefixes(f *faults, what string, list []netip.Prefix) {
	for _, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			f.add(what, "%s is not a prefix", p)
		}
	}
}

// checkSet reports what is wrong with an address set: it is to be sorted and
// without overlap.
func checkSet(f *faults, id string, list []netip.Prefix) {
	what := fmt.Sprintf("set %q", id)
	checkPrefixes(f, what, list)
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		switch {
		case a.Overlaps(b):
			f.add(what, "%s and %s overlap", a, b)
		case a.Addr().Compare(b.Addr()) > 0:
			f.add(what, "%s comes after %s", b, a)
		}
	}
}
