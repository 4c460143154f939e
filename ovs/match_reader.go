package ovs

import "encoding/binary"

// ReadMatch reads the fields of a match (OpenFlow 1.5, section 7.2.3.2) in any
// order and under any of their numbers. Beside what [ReadFieldMatch] refuses,
// a field given twice is [ErrInvalid].
func ReadMatch(oxm []byte) (m Match, err error) {
	var r MatchReader
	if err = r.Add(oxm); err == nil {
		r.Flush(func(_ int, read Match) { m = read })
	}
	return m, err
}

// A MatchReader reads many matches with one allocation for all. The zero value
// is ready for use; it may not be used concurrently.
type MatchReader struct {
	b    []byte
	ends []int  // in b, of each match
	tmp  []byte // fields of a match that are not as they came
	list []span
	// pieces are the list in the order of a Match, neighbours in one.
	pieces []span
	// last is the length of the match before, if each of its fields was as a
	// Match has it, else 0: one with the same fields at the same places has the
	// same list.
	last int
}

// A span is where the OXM of a field lies: in what is read or, if made, in tmp.
type span struct {
	field    Field
	made     bool
	from, to uint32
	header   uint32 // unless made
}

// Add reads the fields of one more match, as [ReadMatch] does. After an error
// the match is not counted.
func (r *MatchReader) Add(oxm []byte) error {
	if len(oxm) > 0xffff {
		return refuse("a match of %d bytes", len(oxm))
	}
	if r.sameFields(oxm) {
		r.put(oxm)
		return nil
	}
	list := r.list[:0] // a local saves the collector's write barriers
	r.tmp, r.last = r.tmp[:0], 0
	asIs := true
	for at := 0; at < len(oxm); {
		rest := oxm[at:]
		if f, n := plain(rest); n > 0 {
			list = append(list, span{field: f, from: uint32(at), to: uint32(at + n), header: binary.BigEndian.Uint32(rest)})
			at += n
			continue
		}
		h, ok := readHeader(rest)
		if !ok || h.field == numFields || !h.inRange(rest[h.length:h.size()]) {
			_, _, err := ReadFieldMatch(rest)
			return err
		}
		asIs = false
		r.list = list
		r.field(h, rest[h.length:h.size()])
		list = r.list
		at += h.size()
	}
	r.list = list
	if err := sortSpans(list); err != nil {
		return err
	}
	if asIs {
		r.last = len(oxm)
	}
	r.pieces = mergeSpans(r.pieces[:0], list)
	r.put(oxm)
	return nil
}

// sameFields reports whether the fields of oxm are those of the last match, in
// the same order, and as a Match has them.
func (r *MatchReader) sameFields(oxm []byte) bool {
	if len(oxm) == 0 || len(oxm) != r.last {
		return false
	}
	for i := range r.list {
		s := &r.list[i]
		if binary.BigEndian.Uint32(oxm[s.from:]) != s.header || s.header&0x100 != 0 && !plainMask(oxm[s.from+4:s.to]) {
			return false
		}
	}
	return true
}

// mergeSpans appends the list with neighbours in one piece.
func mergeSpans(pieces, list []span) []span {
	for i, s := range list {
		if last := len(pieces) - 1; i > 0 && pieces[last].made == s.made && pieces[last].to == s.from {
			pieces[last].to = s.to
		} else {
			pieces = append(pieces, s)
		}
	}
	return pieces
}

// put appends the pieces, as one match.
func (r *MatchReader) put(oxm []byte) {
	b := r.b
	if r.last == len(oxm) && len(r.pieces) == 1 {
		b = append(b, oxm...)
	} else {
		for _, s := range r.pieces {
			from := oxm
			if s.made {
				from = r.tmp
			}
			b = append(b, from[s.from:s.to]...)
		}
	}
	r.b, r.ends = b, append(r.ends, len(b))
}

// plain returns the field that oxm begins with, and its length with the header,
// where it is just as a Match has it; else 0.
func plain(oxm []byte) (f Field, n int) {
	if len(oxm) < 5 {
		return 0, 0
	}
	var class fieldClass
	switch uint16(oxm[0])<<8 | uint16(oxm[1]) {
	case classOpenFlow:
		class = of
	case classNXM1:
		class = nxm1
	default:
		return 0, 0
	}
	f = byNumber[class][oxm[2]>>1]
	i := &fields[f]
	n = 4 + int(i.bytes)
	header := [4]byte(i.header[:4])
	if oxm[2]&1 != 0 {
		n += int(i.bytes)
		header[2], header[3] = header[2]|1, 2*header[3]
	}
	if !i.plain || n > len(oxm) || [4]byte(oxm) != header || oxm[2]&1 != 0 && !plainMask(oxm[4:n]) {
		return 0, 0
	}
	return f, n
}

// plainMask reports whether a value and its mask are as a Match has them: the
// mask neither nothing nor all, the value within.
func plainMask(payload []byte) bool {
	n := len(payload) / 2
	any, all, outside := byte(0), byte(0xff), byte(0)
	for i, mask := range payload[n:] {
		any |= mask
		all &= mask
		outside |= payload[i] &^ mask
	}
	return any != 0 && all != 0xff && outside == 0
}

// Flush hands over the matches added since the last Flush, by their number
// from 0 on.
func (r *MatchReader) Flush(yield func(i int, m Match)) {
	all, from := string(r.b), 0
	for i, end := range r.ends {
		yield(i, Match{all[from:end]})
		from = end
	}
	r.b, r.ends = r.b[:0], r.ends[:0]
}

// field appends a field as a Match has it.
func (r *MatchReader) field(h oxmHeader, payload []byte) {
	switch f := h.field; {
	case f >= FieldXReg0 && f <= fieldXRegLast:
		for half := range 2 {
			value, mask := payload[4*half:4*half+4], []byte(nil)
			if h.masked {
				mask = payload[8+4*half : 12+4*half]
			}
			r.constraint(FieldReg0+2*(f-FieldXReg0)+Field(half), value, mask)
		}
	case f >= FieldXXReg0 && f <= fieldXXRegLast || f == FieldIPTOS || f == FieldVLANTCI || f == FieldPacketType || f.onesOnly() || f.isTunMetadata():
		m := h.match(payload)
		for _, part := range putParts(nil, &m) {
			if !part.isAny() {
				from := len(r.tmp)
				r.tmp = part.AppendOXM(r.tmp)
				r.made(part.Field, from)
			}
		}
	case h.masked:
		n := len(payload) / 2
		r.constraint(f, payload[:n], payload[n:])
	default:
		r.constraint(f, payload, nil)
	}
}

// constraint appends a field with a mask, or, if that is nil, exact.
func (r *MatchReader) constraint(f Field, value, mask []byte) {
	info, from := &fields[f], len(r.tmp)
	exact := mask == nil
	if !exact {
		differs, any := byte(0), byte(0)
		for i, x := range mask {
			full := info.full[i]
			differs |= x&full ^ full
			any |= x & full
		}
		if any == 0 {
			return
		}
		exact = differs == 0
	}
	r.tmp = append(r.tmp, info.header[:info.headLen]...)
	r.tmp = append(r.tmp, value...)
	if !exact {
		for i, x := range mask {
			r.tmp = append(r.tmp, x&info.full[i])
		}
		r.tmp[from+2] |= 1
		r.tmp[from+3] += info.bytes
	}
	r.made(f, from)
}

// made lists the field that begins at from and ends with tmp.
func (r *MatchReader) made(f Field, from int) {
	r.list = append(r.list, span{field: f, made: true, from: uint32(from), to: uint32(len(r.tmp))})
}

// sortSpans brings the fields in order. There are few, mostly in order.
func sortSpans(list []span) error {
	for i := 1; i < len(list); i++ {
		for j := i; j > 0 && list[j].field <= list[j-1].field; j-- {
			if list[j].field == list[j-1].field {
				return refuse("%s given twice", list[j].field)
			}
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	return nil
}
