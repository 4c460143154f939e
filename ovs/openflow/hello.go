package openflow

import (
	"errors"
	"fmt"
)

// handshake exchanges hellos (section 6.3.1). The version bitmap says 1.5.
func (c *Conn) handshake() error {
	b := begin(nil, typeHello, 0)
	b = be.AppendUint32(append(b, 0, 1, 0, 8), 1<<version)
	if _, err := c.nc.Write(end(b, 0)); err != nil {
		return err
	}
	h, body, err := readMessage(c.br)
	switch {
	case err != nil:
		return err
	case h.typ == typeError:
		return errors.New("the switch does not speak OpenFlow 1.5 (is it in the bridge's protocols?)")
	case h.typ != typeHello:
		return malformed("message of type %d before hello", h.typ)
	}
	theirs, err := readVersions(h, body)
	if err == nil && theirs&(1<<version) == 0 {
		err = fmt.Errorf("the switch speaks wire versions %#b, which lacks bit %d: OpenFlow 1.5 must be in the bridge's protocols", theirs, version)
	}
	return err
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
