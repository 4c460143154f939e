package ovs

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
	ends []int // in b, of each match
	list []span
	tmp  []byte
}

// span is where the OXM of a field lies in a buffer.
type span struct {
	field    Field
	from, to int
}

// Add reads the fields of one more match, as [ReadMatch] does. After an error
// the match is not counted.
func (r *MatchReader) Add(oxm []byte) error {
	from := len(r.b)
	r.list = r.list[:0]
	for len(oxm) > 0 {
		h, ok := readHeader(oxm)
		if !ok || h.field == numFields || !h.inRange(oxm[h.length:h.size()]) {
			r.b = r.b[:from]
			_, _, err := ReadFieldMatch(oxm)
			return err
		}
		r.field(h, oxm[h.length:h.size()])
		oxm = oxm[h.size():]
	}
	if err := r.sort(from); err != nil {
		r.b = r.b[:from]
		return err
	}
	r.ends = append(r.ends, len(r.b))
	return nil
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
				from := len(r.b)
				r.b = part.AppendOXM(r.b)
				r.list = append(r.list, span{part.Field, from, len(r.b)})
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
	info, from := &fields[f], len(r.b)
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
	r.b = append(r.b, info.header[:info.headLen]...)
	r.b = append(r.b, value...)
	if !exact {
		for i, x := range mask {
			r.b = append(r.b, x&info.full[i])
		}
		r.b[from+2] |= 1
		r.b[from+3] += info.bytes
	}
	r.list = append(r.list, span{f, from, len(r.b)})
}

// sort brings the fields of the match that starts at from in order.
func (r *MatchReader) sort(from int) error {
	inOrder := true
	for i := 1; i < len(r.list); i++ {
		for j := i; j > 0 && r.list[j].field <= r.list[j-1].field; j-- {
			if r.list[j].field == r.list[j-1].field {
				return refuse("%s given twice", r.list[j].field)
			}
			r.list[j], r.list[j-1] = r.list[j-1], r.list[j]
			inOrder = false
		}
	}
	if inOrder {
		return nil
	}
	r.tmp = r.tmp[:0]
	for _, s := range r.list {
		r.tmp = append(r.tmp, r.b[s.from:s.to]...)
	}
	r.b = append(r.b[:from], r.tmp...)
	return nil
}
