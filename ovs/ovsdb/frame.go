package ovsdb

import (
	"bytes"
	"fmt"
	"io"
)

// maxDepth bounds the nesting of a message. What RFC 7047 defines needs nine
// levels; a schema's constraints a few more.
const maxDepth = 64

// nesting follows the brackets of a JSON text byte by byte.
type nesting struct {
	depth            int
	inString, escape bool
	pos              int // how many bytes it has seen
	known            []span
	open             [spanDepth + 1]int // of known, by depth
}

// A span is an object or array of a message: text[start:end].
type span struct{ start, end int }

// Spans are kept of what is at least minSpan long and at most spanDepth deep: the
// update of a row in the reply to monitor_cond_since is. With them the rows of a large
// reply are found without looking at its bytes again.
const (
	spanDepth = 5
	minSpan   = 64
)

// take takes bytes up to the one that closes the outermost level.
func (n *nesting) take(text []byte) (closed bool, err error) {
	start := n.pos
	for i := 0; i < len(text); i++ {
		if n.inString {
			if i += n.string(text[i:]); i == len(text) {
				break
			}
			continue
		}
		switch text[i] {
		case '"':
			n.inString = true
		case '{', '[':
			if n.depth++; n.depth > maxDepth {
				return false, fmt.Errorf("%w: nested deeper than %d", ErrTooLarge, maxDepth)
			}
			if n.depth <= spanDepth {
				n.open[n.depth] = len(n.known)
				n.known = append(n.known, span{start: start + i})
			}
		case '}', ']':
			n.close(start + i + 1)
			if n.depth <= 0 {
				n.pos = start + i + 1
				return true, nil
			}
		}
	}
	n.pos = start + len(text)
	return false, nil
}

// string takes the bytes of a string up to the quote that ends it, and returns
// where that is. Most bytes are of strings, and few of those are escaped.
func (n *nesting) string(text []byte) int {
	if i := bytes.IndexByte(text, '"'); i > 0 && text[i-1] != '\\' {
		n.inString, n.escape = false, false
		return i
	}
	for i, c := range text {
		switch {
		case n.escape:
			n.escape = false
		case c == '"':
			n.inString = false
			return i
		default:
			n.escape = c == '\\'
		}
	}
	return len(text)
}

// close ends a level, and forgets it if it is short.
func (n *nesting) close(end int) {
	if n.depth > 0 && n.depth <= spanDepth {
		s := &n.known[n.open[n.depth]]
		if s.end = end; s.end-s.start < minSpan {
			n.known = n.known[:n.open[n.depth]]
		}
	}
	n.depth--
}

func checkDepth(data []byte) error {
	for len(data) > 0 {
		var n nesting
		if _, err := n.take(data); err != nil {
			return err
		}
		data = data[n.pos:]
	}
	return nil
}

// framer cuts a stream of JSON objects into messages: OVSDB has no other
// framing than the JSON itself.
type framer struct {
	r     io.Reader
	max   int
	parts [][]byte // of the message that is read; buf has the rest of it
	buf   []byte   // received: the message begins at start, and is seen up to seen
	start int
	seen  int
	known []span
}

// bufferSize is what a framer holds between messages; it receives larger
// messages in parts of that.
const bufferSize = 64 << 10

// read returns the next message, in bytes that are good until the next read.
// It is io.EOF only between messages.
func (f *framer) read() (scanner, error) {
	n := nesting{known: f.known[:0]}
	f.start = f.seen
	for {
		unseen := f.buf[f.seen:]
		if n.pos == 0 {
			unseen = bytes.TrimLeft(unseen, " \t\r\n")
			f.start = len(f.buf) - len(unseen)
			if len(unseen) > 0 && unseen[0] != '{' {
				return scanner{}, malformed("message begins with %q", unseen[0])
			}
		}
		before := n.pos
		closed, err := n.take(unseen)
		if err != nil {
			return scanner{}, err
		}
		if n.pos > f.max {
			return scanner{}, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, f.max)
		}
		f.seen = len(f.buf) - len(unseen) + n.pos - before
		if closed {
			if f.known = n.known; cap(f.known) > bufferSize/minSpan {
				f.known = nil
			}
			return scanner{data: f.message(n.pos), known: n.known}, nil
		}
		if err := f.fill(); err != nil {
			if err == io.EOF && n.pos > 0 {
				err = io.ErrUnexpectedEOF
			}
			return scanner{}, err
		}
	}
}

// message returns the bytes of the message that is read to its end.
func (f *framer) message(size int) []byte {
	last := f.buf[f.start:f.seen:f.seen]
	if f.parts == nil {
		return last
	}
	whole := make([]byte, 0, size)
	for _, part := range f.parts {
		whole = append(whole, part...)
	}
	f.parts = nil
	return append(whole, last...)
}

// fill receives some bytes more.
func (f *framer) fill() error {
	switch {
	case f.start > 0: // what is before has been handed out
		f.buf = append(f.buf[:0], f.buf[f.start:]...)
		f.seen -= f.start
	case len(f.buf) == cap(f.buf):
		if len(f.buf) > 0 {
			f.parts = append(f.parts, f.buf)
		}
		f.buf, f.seen = make([]byte, 0, bufferSize), 0
	}
	f.start = 0
	n, err := f.r.Read(f.buf[len(f.buf):cap(f.buf)])
	f.buf = f.buf[:len(f.buf)+n]
	if n > 0 {
		return nil // an error comes again
	}
	return err
}
