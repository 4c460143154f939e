package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/tierloom/tierloom/ipam"
)

// A record's key is the length of its space, the space, and the value: no two
// pairs share one. Its body is a version, flags, revision, generation, the times
// that the flags name, and the owner and its contestants with their lengths.
// Numbers are varints; times are seconds and nanoseconds since 1970.
const version = 1

const (
	flagUnacknowledged = 1 << iota
	flagPinned
	flagSuspect
	flagSince
	flagReleased
	flagUntil
	flagsKnown = 1<<iota - 1
)

func key(space, value string) []byte {
	b := make([]byte, 0, 2+len(space)+len(value))
	return append(appendText(b, space), value...)
}

// encode appends a record's body.
func encode(b []byte, r *ipam.Record) []byte {
	flags := byte(0)
	set := func(on bool, flag byte) {
		if on {
			flags |= flag
		}
	}
	times := [...]time.Time{r.Since, r.Released, r.Until}
	set(r.Unacknowledged, flagUnacknowledged)
	set(r.Pinned, flagPinned)
	set(r.Suspect, flagSuspect)
	for i, t := range times {
		set(!t.IsZero(), flagSince<<i)
	}
	b = append(b, version, flags)
	b = binary.AppendUvarint(b, r.Revision)
	b = binary.AppendUvarint(b, r.Generation)
	for _, t := range times {
		if !t.IsZero() {
			b = binary.AppendVarint(b, t.Unix())
			b = binary.AppendUvarint(b, uint64(t.Nanosecond()))
		}
	}
	b = appendText(b, r.Owner)
	for _, owner := range r.Contested {
		b = appendText(b, owner)
	}
	return b
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errCut = errors.New("cut short")

// A reader takes a record apart; the first fault stays.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.err = errCut
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.rest, r.err = nil, errCut
		return
	}
	r.rest = r.rest[n:]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

// bytes returns what its length precedes; it is part of what is read.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, errCut
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) time() time.Time {
	seconds, nanos := r.varint(), r.uvarint()
	if nanos >= 1e9 {
		r.err = fmt.Errorf("%d nanoseconds in a second", nanos)
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos)).UTC()
}

// decode is the inverse of key and encode.
func decode(k, v []byte) (ipam.Record, error) {
	rec, err := decodeBody(v)
	head := reader{rest: k}
	rec.Space = head.text()
	rec.Value = string(head.rest)
	if err = errors.Join(err, head.err); err != nil {
		return ipam.Record{}, fmt.Errorf("record %q: %w", k, err)
	}
	return rec, nil
}

func decodeBody(v []byte) (ipam.Record, error) {
	var rec ipam.Record
	r := reader{rest: v}
	if v := r.byte(); v != version {
		return rec, fmt.Errorf("version %d, want %d", v, version)
	}
	flags := r.byte()
	if flags&^byte(flagsKnown) != 0 {
		return rec, fmt.Errorf("unknown flags %#x", flags)
	}
	rec.Unacknowledged = flags&flagUnacknowledged != 0
	rec.Pinned = flags&flagPinned != 0
	rec.Suspect = flags&flagSuspect != 0
	rec.Revision, rec.Generation = r.uvarint(), r.uvarint()
	for i, t := range []*time.Time{&rec.Since, &rec.Released, &rec.Until} {
		if flags&(flagSince<<i) != 0 {
			*t = r.time()
		}
	}
	rec.Owner = r.text()
	for len(r.rest) > 0 && r.err == nil {
		rec.Contested = append(rec.Contested, r.text())
	}
	return rec, r.err
}
