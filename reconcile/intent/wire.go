package intent

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// defaultHeartbeat is how often a watch over HTTP says that it lives.
const defaultHeartbeat = 5 * time.Second

// wireError is an error as JSON.
type wireError struct {
	Error        string `json:"error"`
	Kind         string `json:"kind"`
	Op           string `json:"op,omitempty"`
	Field        string `json:"field,omitempty"`
	ResourceType string `json:"resource_type,omitempty"`
	ID           string `json:"id,omitempty"`
}

// wireList is the answer to a list, named as the NSX Policy API names it.
type wireList struct {
	Results  []Object `json:"results"`
	Count    int      `json:"result_count"`
	Revision uint64   `json:"revision"`
	Epoch    string   `json:"epoch"`
}

// wireBatch is the body of a batch.
type wireBatch struct {
	Changes []Change `json:"changes"`
}

// wireRevision is the answer to a change.
type wireRevision struct {
	Revision uint64 `json:"revision"`
}

// wireEvent is a line of a watch. Type is also "heartbeat", with the store's revision, or "error".
type wireEvent struct {
	Type     string     `json:"type"`
	Revision uint64     `json:"revision,omitempty"`
	More     bool       `json:"more,omitempty"`
	Object   *Object    `json:"object,omitempty"`
	Error    *wireError `json:"error,omitempty"`
}

// toWire describes an error and gives its HTTP status.
func toWire(err error) (*wireError, int) {
	w := &wireError{Error: err.Error(), Kind: "unavailable"}
	code := http.StatusServiceUnavailable
	for _, k := range kinds() {
		if errors.Is(err, k.err) {
			w.Kind, code = k.name, k.code
			break
		}
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		code = http.StatusRequestEntityTooLarge
	}
	if e, ok := errors.AsType[*Error](err); ok {
		w.Op, w.Field, w.ResourceType, w.ID = e.Op, e.Field, e.Key.ResourceType, e.Key.ID
	}
	return w, code
}

// fromWire makes the error that toWire described. Its text is that of the server.
func fromWire(w *wireError) error {
	for _, k := range kinds() {
		if k.name == w.Kind {
			return &Error{Op: w.Op, Key: Key{w.ResourceType, w.ID}, Field: w.Field, Kind: k.err, Err: &remoteError{w.Error, k.err}}
		}
	}
	return &Error{Op: w.Op, Kind: ErrUnavailable, Err: errors.New(w.Error)}
}

// remoteError is the text of an error that arose on the server.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

// decodeStrict decodes exactly one JSON value without unknown fields.
func decodeStrict(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if dec.More() {
			return invalid("decode", Key{}, "", "more data after the JSON value")
		}
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Op: "decode", Field: fieldOf(err), Kind: ErrInvalid, Err: errors.New(syntax(err))}
}
