package ovsdb

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"strconv"
	"unicode/utf8"
)

// A scanner reads JSON (RFC 8259) in one pass, without a tree in between: a
// first sync is mostly this.
type scanner struct {
	data  []byte
	pos   int
	depth int
	texts *texts
	known []span // of data, in the order of their starts
}

// texts are strings that may come again, as columns, keys and many values do,
// each in the place that its hash gives it. Those that do are made once. Nil
// keeps none.
type texts [512]any

// of returns a text as a string.
func (t *texts) of(text []byte) any {
	if t == nil {
		return string(text)
	}
	place := &t[maphash.Bytes(cowSeed, text)%uint64(len(t))]
	if have, _ := (*place).(string); have != string(text) || *place == nil {
		*place = string(text)
	}
	return *place
}

func (s *scanner) bad() error {
	if s.pos >= len(s.data) {
		return malformed("JSON ends too soon")
	}
	return malformed("JSON has %q at byte %d", s.data[s.pos], s.pos)
}

// peek returns the next byte that is no space, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	if s.peek() != c || s.pos >= len(s.data) {
		return s.bad()
	}
	s.pos++
	return nil
}

// end checks that nothing follows.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.data) {
		return s.bad()
	}
	return nil
}

// list reads what is between two brackets, an item at a time.
func (s *scanner) list(open, closed byte, item func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return checkDepth(s.data)
	}
	if s.peek() != closed {
		for {
			if err := item(); err != nil {
				return err
			}
			if s.peek() != ',' {
				break
			}
			s.pos++
		}
	}
	s.depth--
	return s.expect(closed)
}

func (s *scanner) array(item func() error) error { return s.list('[', ']', item) }

// object reads the members of an object. The function is called before the
// value is read, with a name that is good until then.
func (s *scanner) object(member func(name []byte) error) error {
	return s.list('{', '}', func() error {
		name, err := s.bytes()
		if err == nil {
			err = s.expect(':')
		}
		if err != nil {
			return err
		}
		return member(name)
	})
}

// token returns a string with its quotes, and whether it is plain: what is
// between them is the text.
func (s *scanner) token() (token []byte, plain bool, err error) {
	if err := s.expect('"'); err != nil {
		return nil, false, err
	}
	start := s.pos - 1
	plain = true
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start:s.pos], plain, nil
		case c == '\\':
			plain = false
			s.pos++
		case c < ' ':
			return nil, false, s.bad()
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	return nil, false, s.bad()
}

// bytes reads a string. What is plain stays where it is.
func (s *scanner) bytes() ([]byte, error) {
	token, plain, err := s.token()
	if err != nil {
		return nil, err
	}
	if plain {
		return token[1 : len(token)-1], nil
	}
	var text string
	if err := json.Unmarshal(token, &text); err != nil {
		return nil, malformed("%v", err)
	}
	return []byte(text), nil
}

// raw passes over a value of any kind, and returns it as a part of the data.
func (s *scanner) raw() ([]byte, error) {
	c := s.peek()
	start := s.pos
	var err error
	switch c {
	case '{':
		err = s.object(func([]byte) error { _, err := s.raw(); return err })
	case '[':
		err = s.array(func() error { _, err := s.raw(); return err })
	case '"':
		var token []byte
		var plain bool
		if token, plain, err = s.token(); err == nil && !plain && !json.Valid(token) {
			err = malformed("string %.50s", token)
		}
	default:
		_, err = s.bare()
	}
	return s.data[start:s.pos], err
}

// skip passes over a value of data that is known to be JSON, and returns a
// scanner of it alone.
func (s *scanner) skip() (scanner, error) {
	c := s.peek()
	for len(s.known) > 0 && s.known[0].start < s.pos {
		s.known = s.known[1:]
	}
	part := scanner{data: s.data, pos: s.pos, known: s.known}
	var err error
	switch {
	case c != '{' && c != '[':
		_, err = s.raw()
	case len(s.known) > 0 && s.known[0].start == s.pos:
		s.pos = s.known[0].end
	default:
		var n nesting
		var closed bool
		if closed, err = n.take(s.data[s.pos:]); err == nil && !closed {
			err = malformed("JSON ends too soon")
		}
		s.pos += n.pos
	}
	part.data = s.data[:s.pos]
	return part, err
}

// rest is what the scanner has not read.
func (s scanner) rest() []byte { return s.data[s.pos:] }

func (s scanner) isNull() bool { return isNull(s.rest()) }

// split returns the items of an array that is known to be JSON.
func (s scanner) split() ([]scanner, error) {
	var items []scanner
	err := s.array(func() error {
		item, err := s.skip()
		items = append(items, item)
		return err
	})
	return items, err
}

// bare reads a number, true, false or null.
func (s *scanner) bare() ([]byte, error) {
	s.peek()
	start := s.pos
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			continue
		}
		break
	}
	token := s.data[start:s.pos]
	if !json.Valid(token) {
		return nil, s.bad()
	}
	return token, nil
}

// row reads a <row> of RFC 7047, section 5.1.
func (s *scanner) row(room int) (Row, error) {
	row := make(Row, room)
	err := s.object(func(name []byte) error {
		column := string(name)
		value, err := s.value()
		row[column] = value
		return wrapColumn(err, column)
	})
	if err != nil {
		return nil, err
	}
	return row, nil
}

// value reads a <value> of RFC 7047, section 5.1. Sets and maps, which are most
// of a reply's bytes, are read directly.
func (s *scanner) value() (any, error) {
	if s.peek() != '[' {
		return s.atom()
	}
	rest := s.data[s.pos:]
	isMap := bytes.HasPrefix(rest, []byte(`["map",`))
	if !isMap && !bytes.HasPrefix(rest, []byte(`["set",`)) {
		return s.other(valueOf)
	}
	s.pos += len(`["map",`)
	if s.depth++; s.depth > maxDepth {
		return nil, checkDepth(s.data)
	}
	var value any
	var err error
	if isMap {
		value, err = s.pairs()
	} else {
		set := Set{}
		err = s.array(func() error {
			atom, err := s.atom()
			set = append(set, atom)
			return err
		})
		value = set
	}
	if err != nil {
		return nil, err
	}
	s.depth--
	return value, s.expect(']')
}

func (s *scanner) pairs() (Map, error) {
	m := Map{}
	err := s.array(func() error {
		if err := s.expect('['); err != nil {
			return err
		}
		k, err := s.atom()
		if err == nil {
			err = s.expect(',')
		}
		if err != nil {
			return err
		}
		v, err := s.atom()
		if err != nil {
			return err
		}
		had := len(m)
		if m[k] = v; len(m) == had {
			return malformed("map has key %v twice", k)
		}
		return s.expect(']')
	})
	return m, err
}

func (s *scanner) atom() (any, error) {
	switch s.peek() {
	case '"':
		text, err := s.bytes()
		return s.texts.of(text), err
	case '[', '{':
		return s.other(atomOf)
	}
	token, err := s.bare()
	if err != nil {
		return nil, err
	}
	switch string(token) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if n, err := strconv.ParseInt(string(token), 10, 64); err == nil {
		return n, nil
	}
	var tree any = json.Number(token)
	if string(token) == "null" {
		tree = nil
	}
	return atomOf(tree)
}

// other reads a value of a rarer form by way of a tree.
func (s *scanner) other(of func(any) (any, error)) (any, error) {
	raw, err := s.raw()
	if err != nil {
		return nil, err
	}
	tree, err := decodeJSON(raw)
	if err != nil {
		return nil, err
	}
	return of(tree)
}
