package openflow

import (
	"errors"
	"fmt"
	"strings"
)

// A Version is a version of OpenFlow, as on the wire.
type Version uint8

// Versions that a [Conn] speaks.
const (
	OpenFlow13 Version = 4
	OpenFlow14 Version = 5
	OpenFlow15 Version = 6
)

// String returns "OpenFlow 1.5".
func (v Version) String() string { return fmt.Sprintf("OpenFlow 1.%d", int(v)-1) }

// Version returns the version that was agreed on.
func (c *Conn) Version() Version { return c.version }

// since refuses what the version agreed on cannot say.
func (c *Conn) since(v Version, what string) error {
	if c.version < v {
		return fmt.Errorf("openflow: %s: %w: needs %s, the connection has %s", what, errors.ErrUnsupported, v, c.version)
	}
	return nil
}

// handshake exchanges hellos (section 6.3.1), in which each side says what it
// speaks by a bitmap, and takes the latest version of both.
func (c *Conn) handshake() error {
	ours := uint32(0)
	for _, v := range c.cfg.Versions {
		if v < OpenFlow13 || v > OpenFlow15 {
			return fmt.Errorf("%s: %w", v, errors.ErrUnsupported)
		}
		ours |= 1 << v
	}
	b := begin(nil, typeHello, 0)
	b[0] = byte(latest(ours))
	b = be.AppendUint32(append(b, 0, 1, 0, 8), ours)
	if _, err := c.nc.Write(end(b, 0)); err != nil {
		return err
	}
	h, body, err := readMessage(c.br)
	switch {
	case err != nil:
		return err
	case h.typ == typeError:
		return fmt.Errorf("the switch speaks none of %s (are they in the bridge's protocols?)", versionList(ours))
	case h.typ != typeHello:
		return malformed("message of type %d before hello", h.typ)
	}
	theirs, err := readVersions(h, body)
	if err != nil {
		return err
	}
	if c.version = latest(ours & theirs); c.version == 0 {
		return fmt.Errorf("the switch speaks %s, want one of %s (are they in the bridge's protocols?)", versionList(theirs), versionList(ours))
	}
	return nil
}

func latest(versions uint32) Version {
	for v := Version(31); v > 0; v-- {
		if versions&(1<<v) != 0 {
			return v
		}
	}
	return 0
}

func versionList(versions uint32) string {
	var list []string
	for v := Version(1); v < 32; v++ {
		if versions&(1<<v) != 0 {
			list = append(list, v.String())
		}
	}
	return strings.Join(list, ", ")
}

// readVersions returns a bit for each wire version that a hello offers. One
// without a bitmap offers all up to its header's.
func readVersions(h header, body []byte) (uint32, error) {
	r := reader{b: body}
	for len(r.b) > 0 {
		typ, n := r.u16(), int(r.u16())
		element := r.sub(n - 4)
		r.skip(min((8-n%8)%8, len(r.b)))
		if r.bad {
			return 0, malformed("element of hello of length %d", n)
		}
		if typ == 1 {
			return element.u32(), nil
		}
	}
	return uint32(1)<<(min(h.version, 30)+1) - 1, nil
}
