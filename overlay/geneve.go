package overlay

import (
	"encoding/binary"
	"fmt"
)

// Port is the UDP port of GENEVE (RFC 8926, section 3.3).
const Port uint16 = 6081

// ProtocolEthernet is the protocol type of an inner Ethernet frame.
const ProtocolEthernet uint16 = 0x6558

const (
	headerLen     = 8
	optionLen     = 4
	maxOptionData = 31 * 4
	maxOptions    = 63 * 4
)

// A Header is a GENEVE header (RFC 8926, section 3.4):
//
//	|Ver|  Opt Len  |O|C|    Rsvd.  |          Protocol Type        |
//	|        Virtual Network Identifier (VNI)       |    Reserved   |
//	|                    Variable-Length Options                    |
type Header struct {
	VNI      VNI
	Protocol uint16 // EtherType of what follows
	// Control is the O bit: the packet carries a control message.
	Control bool
	// Critical is the C bit: an option is critical.
	Critical bool
	Options  []Option
}

// An Option is a type-length-value of a header (RFC 8926, section 3.5).
type Option struct {
	Class uint16
	// Type has its critical bit on top.
	Type uint8
	Data []byte // a multiple of 4 bytes, at most 124
}

// Append appends the header to b.
func (h Header) Append(b []byte) ([]byte, error) {
	if h.VNI > MaxVNI {
		return b, fmt.Errorf("overlay: geneve vni %d: %w: want at most %d", h.VNI, ErrInvalid, MaxVNI)
	}
	length := 0
	for i, o := range h.Options {
		if len(o.Data)%4 != 0 || len(o.Data) > maxOptionData {
			return b, fmt.Errorf("overlay: geneve option %d: %w: %d bytes of data, want a multiple of 4 up to %d", i, ErrInvalid, len(o.Data), maxOptionData)
		}
		length += optionLen + len(o.Data)
	}
	if length > maxOptions {
		return b, fmt.Errorf("overlay: geneve options: %w: %d bytes, want at most %d", ErrInvalid, length, maxOptions)
	}
	var flags byte
	if h.Control {
		flags |= 0x80
	}
	if h.Critical {
		flags |= 0x40
	}
	b = append(b, byte(length/4), flags)
	b = binary.BigEndian.AppendUint16(b, h.Protocol)
	b = binary.BigEndian.AppendUint32(b, uint32(h.VNI)<<8)
	for _, o := range h.Options {
		b = binary.BigEndian.AppendUint16(b, o.Class)
		b = append(b, o.Type, byte(len(o.Data)/4))
		b = append(b, o.Data...)
	}
	return b, nil
}

// Parse reads a header and returns what follows it. Options and payload share
// memory with b.
func Parse(b []byte) (Header, []byte, error) {
	if len(b) < headerLen {
		return Header{}, nil, fmt.Errorf("overlay: geneve: %w: %d bytes, a header has %d", ErrMalformed, len(b), headerLen)
	}
	if v := b[0] >> 6; v != 0 {
		return Header{}, nil, fmt.Errorf("overlay: geneve: %w: version %d, want 0", ErrMalformed, v)
	}
	h := Header{
		VNI: VNI(binary.BigEndian.Uint32(b[4:]) >> 8), Protocol: binary.BigEndian.Uint16(b[2:]),
		Control: b[1]&0x80 != 0, Critical: b[1]&0x40 != 0,
	}
	n := int(b[0]&0x3f) * 4
	if len(b) < headerLen+n {
		return Header{}, nil, fmt.Errorf("overlay: geneve: %w: %d bytes of options announced, %d there", ErrMalformed, n, len(b)-headerLen)
	}
	options, payload := b[headerLen:headerLen+n], b[headerLen+n:]
	for len(options) > 0 {
		size := optionLen + int(options[3]&0x1f)*4
		if len(options) < size {
			return Header{}, nil, fmt.Errorf("overlay: geneve: %w: option of %d bytes, %d left", ErrMalformed, size, len(options))
		}
		h.Options = append(h.Options, Option{Class: binary.BigEndian.Uint16(options), Type: options[2], Data: options[optionLen:size:size]})
		options = options[size:]
	}
	return h, payload, nil
}
