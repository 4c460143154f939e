package kube

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/tierloom/tierloom/lb"
)

// EndpointsFrom reads all EndpointSlices of one service. Conditions that are
// not given have the meaning the API gives them: ready, serving as ready, not
// terminating. An endpoint in several slices, as it may be while a controller
// moves it, is taken once, in its best condition. Slices of type FQDN and
// ports without a number are left out. The result is sorted.
func EndpointsFrom(list []*discoveryv1.EndpointSlice) ([]lb.Endpoint, error) {
	type key struct {
		port string
		at   netip.AddrPort
	}
	found := map[key]lb.Endpoint{}
	var faults []error
	for _, s := range list {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		fault := func(field string, err error) {
			faults = append(faults, fmt.Errorf("kube: endpoint slice %s/%s: %s: %w", s.Namespace, s.Name, field, err))
		}
		for i, p := range s.Ports {
			if p.Port != nil && (*p.Port < 1 || *p.Port > 65535) {
				fault(fmt.Sprintf("ports[%d].port", i), fmt.Errorf("%d is not in 1..65535: %w", *p.Port, lb.ErrInvalid))
			}
		}
		for i, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				fault(fmt.Sprintf("endpoints[%d].addresses", i), fmt.Errorf("empty: %w", lb.ErrInvalid))
				continue
			}
			// All addresses of an endpoint mean the same; consumers take the first.
			addr, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				fault(fmt.Sprintf("endpoints[%d].addresses[0]", i), err)
				continue
			}
			ready := isTrue(e.Conditions.Ready, true)
			one := lb.Endpoint{
				Addr: addr, Ready: ready,
				Serving:     isTrue(e.Conditions.Serving, ready),
				Terminating: isTrue(e.Conditions.Terminating, false),
			}
			if e.NodeName != nil {
				one.Node = *e.NodeName
			}
			for _, p := range s.Ports {
				if p.Port == nil || *p.Port < 1 || *p.Port > 65535 {
					continue
				}
				one.PortName, one.Port = "", uint16(*p.Port)
				if p.Name != nil {
					one.PortName = *p.Name
				}
				k := key{one.PortName, netip.AddrPortFrom(addr, one.Port)}
				if old, ok := found[k]; !ok || rank(one) > rank(old) {
					found[k] = one
				}
			}
		}
	}
	out := make([]lb.Endpoint, 0, len(found))
	for _, e := range found {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b lb.Endpoint) int {
		return cmp.Or(cmp.Compare(a.PortName, b.PortName), a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port))
	})
	return out, errors.Join(faults...)
}

// rank orders the conditions of an endpoint, the best highest.
func rank(e lb.Endpoint) int {
	switch {
	case e.Ready:
		return 2
	case e.Serving:
		return 1
	}
	return 0
}

func isTrue(p *bool, otherwise bool) bool {
	if p == nil {
		return otherwise
	}
	return *p
}
