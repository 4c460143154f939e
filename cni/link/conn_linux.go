package link

import (
	"errors"
	"fmt"
	"net"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// conn speaks rtnetlink inside one namespace.
type conn struct {
	ns  netns
	rt  *rtnetlink.Conn
	raw *netlink.Conn // for attributes that rtnetlink does not decode
}

func dial(ns netns) (*conn, error) {
	cfg := &netlink.Config{NetNS: ns.fd()}
	rt, err := rtnetlink.Dial(cfg)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	raw, err := netlink.Dial(unix.NETLINK_ROUTE, cfg)
	if err != nil {
		_ = rt.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// Without this option a filtered route dump returns everything.
	_ = rt.SetOption(netlink.GetStrictCheck, false)
	return &conn{ns: ns, rt: rt, raw: raw}, nil
}

func (c *conn) close() {
	_ = c.rt.Close()
	_ = c.raw.Close()
}

// device is what we need to know of an interface.
type device struct {
	name  string
	index uint32
	flags uint32
	kind  string
	mac   net.HardwareAddr
	mtu   uint32
	peer  uint32 // IFLA_LINK: index of the other end, in its namespace
	// peerNS is IFLA_LINK_NETNSID, this namespace's number for that of the
	// other end; -1 if the other end is in this one.
	peerNS int32
}

func (d *device) up() bool { return d.flags&unix.IFF_UP != 0 }

// device looks an interface up by name; nil if there is none.
func (c *conn) device(name string) (*device, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, name)
	attrs, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	msgs, err := c.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), attrs...),
	})
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	for _, m := range msgs {
		d, err := parseDevice(m.Data)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", name, err)
		}
		if d.name == name {
			return d, nil
		}
	}
	return nil, nil
}

// devices lists all interfaces.
func (c *conn) devices() ([]*device, error) {
	msgs, err := c.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, unix.SizeofIfInfomsg),
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	out := make([]*device, 0, len(msgs))
	for _, m := range msgs {
		d, err := parseDevice(m.Data)
		if err != nil {
			return nil, fmt.Errorf("list interfaces: %w", err)
		}
		out = append(out, d)
	}
	return out, nil
}

// parseDevice decodes an RTM_NEWLINK body (struct ifinfomsg and attributes,
// rtnetlink(7)).
func parseDevice(b []byte) (*device, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return nil, fmt.Errorf("link message of %d bytes", len(b))
	}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return nil, err
	}
	d := &device{peerNS: -1}
	d.index, d.flags = ad.ByteOrder.Uint32(b[4:8]), ad.ByteOrder.Uint32(b[8:12])
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			d.name = ad.String()
		case unix.IFLA_ADDRESS:
			d.mac = append(net.HardwareAddr(nil), ad.Bytes()...)
		case unix.IFLA_MTU:
			d.mtu = ad.Uint32()
		case unix.IFLA_LINK:
			d.peer = ad.Uint32()
		case unix.IFLA_LINK_NETNSID:
			d.peerNS = ad.Int32()
		case unix.IFLA_LINKINFO:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				for nad.Next() {
					if nad.Type() == unix.IFLA_INFO_KIND {
						d.kind = nad.String()
					}
				}
				return nil
			})
		}
	}
	return d, ad.Err()
}

// nsID returns this namespace's number for another one, -1 if it has none.
func (c *conn) nsID(other netns) (int32, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.NETNSA_FD, uint32(other.fd()))
	attrs, err := ae.Encode()
	if err != nil {
		return -1, err
	}
	const sizeofRtgenmsg = 4 // one byte of family, padded
	msgs, err := c.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETNSID, Flags: netlink.Request},
		Data:   append(make([]byte, sizeofRtgenmsg), attrs...),
	})
	if err != nil {
		return -1, fmt.Errorf("number of the sandbox namespace: %w", err)
	}
	id := int32(-1)
	for _, m := range msgs {
		if len(m.Data) < sizeofRtgenmsg {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[sizeofRtgenmsg:])
		if err != nil {
			return -1, err
		}
		for ad.Next() {
			if ad.Type() == unix.NETNSA_NSID {
				id = ad.Int32()
			}
		}
		if err := ad.Err(); err != nil {
			return -1, err
		}
	}
	return id, nil
}

// set changes attributes of an interface; up also sets IFF_UP.
func (c *conn) set(index uint32, attrs *rtnetlink.LinkAttributes, up bool) error {
	m := &rtnetlink.LinkMessage{Index: index, Attributes: attrs}
	if up {
		m.Flags, m.Change = unix.IFF_UP, unix.IFF_UP
	}
	return c.rt.Link.Set(m)
}
