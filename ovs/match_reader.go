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
	ends []int  // in b, of each match
	tmp  []byte // fields of a match that are not as they came
	list []span
}

// A span is where the OXM of a field lies: in what is read or, if made, in tmp.
type span struct {
	field    Field
	made     bool
	from, to uint32
}

// Add reads the fields of one more match, as [ReadMatch] does. After an error
// the match is not counted.
func (r *MatchReader) Add(oxm []byte) error {
	if len(oxm) > 0xffff {
		return refuse("a match of %d bytes", len(oxm))
	}
	list := r.list[:0] // a local saves the collector's write barriers
	r.tmp = r.tmp[:0]
	for at := 0; at < len(oxm); {
		rest := oxm[at:]
		if f, n := plain(rest); n > 0 {
			list = append(list, span{f, false, uint32(at), uint32(at + n)})
			at += n
			continue
		}
		h, ok := readHeader(rest)
		if !ok || h.field == numFields || !h.inRange(rest[h.length:h.size()]) {
			_, _, err := ReadFieldMatch(rest)
			return err
		}
		r.list = list
		r.field(h, rest[h.length:h.size()])
		list = r.list
		at += h.size()
	}
	r.list = list
	if err := sortSpans(list); err != nil {
		return err
	}
	b := r.b
	for len(list) > 0 {
		s := list[0]
		for list = list[1:]; len(list) > 0 && list[0].made == s.made && list[0].from == s.to; list = list[1:] {
			s.to = list[0].to // neighbours go in one piece
		}
		if s.made {
			b = append(b, r.tmp[s.from:s.to]...)
		} else {
			b = append(b, oxm[s.from:s.to]...)
		}
	}
	r.b, r.ends = b, append(r.ends, len(b))
	return nil
}

// plain returns the field that oxm begins with, and its length with the header,
// where it is exact and just as a Match has it; else 0.
func plain(oxm []byte) (Field, int) {
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
	f := byNumber[class][oxm[2]>>1]
	i := &fields[f]
	n := 4 + int(i.bytes)
	if !i.plain || n > len(oxm) || [4]byte(oxm) != [4]byte(i.header[:4]) {
		return 0, 0
	}
	return f, n
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
	r.list = append(r.list, span{f, true, uint32(from), uint32(len(r.tmp))})
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
