package ovsdb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// maxDepth bounds the nesting of a message. What RFC 7047 defines needs nine
// levels; a schema's constraints a few more.
const maxDepth = 64

// framer cuts a stream of JSON objects into messages: OVSDB has no other
// framing than the JSON itself.
type framer struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// nesting follows the brackets of a JSON text byte by byte.
type nesting struct {
	depth            int
	inString, escape bool
}

// next takes one byte; it reports whether a bracket closed the outermost level.
func (n *nesting) next(c byte) (closed bool, err error) {
	switch {
	case n.escape:
		n.escape = false
	case n.inString:
		n.escape = c == '\\'
		n.inString = c != '"'
	case c == '"':
		n.inString = true
	case c == '{' || c == '[':
		if n.depth++; n.depth > maxDepth {
			return false, fmt.Errorf("%w: nested deeper than %d", ErrTooLarge, maxDepth)
		}
	case c == '}' || c == ']':
		n.depth--
		return n.depth <= 0, nil
	}
	return false, nil
}

func checkDepth(data []byte) error {
	var n nesting
	for _, c := range data {
		if _, err := n.next(c); err != nil {
			return err
		}
	}
	return nil
}

// read returns the next message, in a slice that is good until the next read.
// It is io.EOF only between messages.
func (f *framer) read() ([]byte, error) {
	f.buf = f.buf[:0]
	var n nesting
	for {
		if _, err := f.r.Peek(1); err != nil {
			if err == io.EOF && len(f.buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		chunk, _ := f.r.Peek(f.r.Buffered())
		if len(f.buf) == 0 {
			rest := bytes.TrimLeft(chunk, " \t\r\n")
			_, _ = f.r.Discard(len(chunk) - len(rest))
			if len(rest) == 0 {
				continue
			}
			if chunk = rest; chunk[0] != '{' {
				return nil, malformed("message begins with %q", chunk[0])
			}
		}
		used, closed, err := n.scan(chunk)
		if err != nil {
			return nil, err
		}
		if len(f.buf)+used > f.max {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, f.max)
		}
		f.buf = append(f.buf, chunk[:used]...)
		_, _ = f.r.Discard(used)
		if closed {
			return f.buf, nil
		}
	}
}

// scan takes bytes up to the one that closes the outermost level.
func (n *nesting) scan(chunk []byte) (used int, closed bool, err error) {
	for i := 0; i < len(chunk); i++ {
		if n.inString && !n.escape { // most bytes are of strings without a quote
			for i < len(chunk) && chunk[i] != '"' && chunk[i] != '\\' {
				i++
			}
			if i == len(chunk) {
				break
			}
		}
		closed, err := n.next(chunk[i])
		if err != nil || closed {
			return i + 1, closed, err
		}
	}
	return len(chunk), false, nil
}
