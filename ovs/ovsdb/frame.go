package ovsdb

import (
	"bufio"
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
		c, err := f.r.ReadByte()
		if err != nil {
			if err == io.EOF && len(f.buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if len(f.buf) == 0 {
			switch c {
			case ' ', '\t', '\r', '\n':
				continue
			case '{':
			default:
				return nil, malformed("message begins with %q", c)
			}
		}
		if len(f.buf) >= f.max {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, f.max)
		}
		f.buf = append(f.buf, c)
		closed, err := n.next(c)
		if err != nil {
			return nil, err
		}
		if closed {
			return f.buf, nil
		}
	}
}
