//go:build !linux

package edgeagent

import (
	"errors"
	"net"
	"net/netip"
)

type router struct{}

func newRouter(string) (*router, error) { return nil, errors.ErrUnsupported }

func (*router) up(net.HardwareAddr, netip.Addr, net.HardwareAddr) error { return errors.ErrUnsupported }

func (*router) sync([]netip.Prefix, netip.Addr) (added, removed int, err error) {
	return 0, 0, errors.ErrUnsupported
}
