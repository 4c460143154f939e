package openflow

import "encoding/binary"

// version is OpenFlow 1.5.
const version = 6

// Types of message (section 7.1).
const (
	typeHello            = 0
	typeError            = 1
	typeEchoRequest      = 2
	typeEchoReply        = 3
	typeExperimenter     = 4
	typeFeaturesRequest  = 5
	typeFeaturesReply    = 6
	typePacketOut        = 13
	typeFlowMod          = 14
	typeGroupMod         = 15
	typeMultipartRequest = 18
	typeMultipartReply   = 19
	typeBarrierRequest   = 20
	typeBarrierReply     = 21
	typeBundleControl    = 33
	typeBundleAdd        = 34
)

// Multipart types (section 7.3.5).
const (
	multipartFlowDesc   = 1
	multipartPortStats  = 4
	multipartGroupStats = 6
	multipartGroupDesc  = 7
	multipartPortDesc   = 13
	multipartMore       = 1 // flag: more replies follow
)

// Bundle control types and flags (section 7.3.9).
const (
	bundleOpen    = 0
	bundleCommit  = 4
	bundleAtomic  = 1
	bundleOrdered = 2
)

// Commands of flow-mod and group-mod (sections 7.3.4.2 and 7.3.4.3).
const (
	flowAdd          = 0
	flowDeleteStrict = 4
	groupAdd         = 0
	groupModify      = 1
	groupDelete      = 2
)

const (
	noBuffer  = 0xffffffff
	anyPort   = 0xffffffff
	anyGroup  = 0xffffffff
	allGroups = 0xfffffffc
	allBucket = 0xffffffff
	allTables = 0xff
	headerLen = 8
	maxLen    = 0xffff // of a message
)

// Experimenters.
const (
	nicira = 0x00002320
	ntr    = 0x0000154d // Netronome, for the selection method of groups
)

var be = binary.BigEndian

// begin appends a header whose length end fills in.
func begin(b []byte, typ uint8, xid uint32) []byte {
	return be.AppendUint32(append(b, version, typ, 0, 0), xid)
}

// end writes the length of the message that starts at start.
func end(b []byte, start int) []byte {
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

// pad appends zeros until the part that starts at start is a multiple of 8 long.
func pad(b []byte, start int) []byte {
	for (len(b)-start)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

func zeros(b []byte, n int) []byte {
	for range n {
		b = append(b, 0)
	}
	return b
}

// nothing is what a short read past the end gets; nobody writes to it.
var nothing [16]byte

// A reader takes values off a message. After a read past the end, bad is set
// and every further value is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad = true
		r.b = nil
		n = max(0, min(n, maxLen))
		if n <= len(nothing) {
			return nothing[:n]
		}
		return make([]byte, n)
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return be.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return be.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return be.Uint64(r.take(8)) }
func (r *reader) skip(n int)  { r.take(n) }

// sub returns a reader of the next n bytes.
func (r *reader) sub(n int) reader {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return reader{bad: true}
	}
	return reader{b: r.take(n), bad: r.bad}
}
