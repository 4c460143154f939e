package cni

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// protocolVersion is the version of the plugin to agent protocol. A server
// refuses others, so that plugin and agent may be upgraded apart.
const protocolVersion = 1

// defaultMaxMessage bounds a message in bytes; a GC for ten thousand
// attachments takes about one megabyte.
const defaultMaxMessage = 4 << 20

// call and reply are the two messages of one connection, a line of JSON each.
type call struct {
	Protocol int      `json:"protocol"`
	Request  *Request `json:"request"`
}

type reply struct {
	Protocol int     `json:"protocol"`
	Result   *Result `json:"result,omitempty"`
	Error    *Error  `json:"error,omitempty"`
}

// readLine returns one line without its newline, of at most limit bytes.
// It returns io.EOF only if there was no byte at all.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// writeLine writes v as one line of at most limit bytes.
func writeLine(w io.Writer, v any, limit int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(b) > limit {
		return fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(b), limit)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// decodeStrict decodes exactly one JSON value.
func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the message", ErrProtocol)
	}
	return nil
}

// decodeCall parses a request line. Its errors wrap ErrProtocol or are the
// *Error of Request.Validate.
func decodeCall(line []byte) (*Request, error) {
	var c call
	if err := decodeStrict(line, &c); err != nil {
		return nil, err
	}
	if c.Protocol != protocolVersion {
		return nil, fmt.Errorf("%w: version %d, this side speaks %d", ErrProtocol, c.Protocol, protocolVersion)
	}
	if c.Request == nil {
		return nil, fmt.Errorf("%w: no request", ErrProtocol)
	}
	if err := c.Request.Validate(); err != nil {
		return nil, err
	}
	return c.Request, nil
}

// decodeReply parses a reply line: a result (nil for an empty one), or an
// error that is the agent's *Error or wraps ErrProtocol.
func decodeReply(line []byte) (*Result, error) {
	var r reply
	if err := decodeStrict(line, &r); err != nil {
		return nil, err
	}
	if r.Protocol != protocolVersion {
		return nil, fmt.Errorf("%w: version %d, this side speaks %d", ErrProtocol, r.Protocol, protocolVersion)
	}
	if r.Error != nil {
		return nil, r.Error
	}
	return r.Result, nil
}
