package intent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config holds what a Handler may be told. The zero value is good.
type Config struct {
	// Validate refuses a Put by an error, which becomes ErrInvalid unless it is an error of this
	// package; nil accepts every well-formed object. An *Error should name the Field.
	Validate func(Object) error
	// Principal names who sends a request, from its TLS certificate say. If set, requests without
	// a name are refused with ErrForbidden.
	Principal func(*http.Request) string
	// Authorize refuses a change by an error, which becomes ErrForbidden; nil allows all.
	Authorize func(principal string, c Change) error
	// MaxBytes limits the body of a request; 0: 32 MiB.
	MaxBytes int64
	// Heartbeat is the time between signs of life on a watch; 0: 5 s.
	Heartbeat time.Duration
	// Log gets a line for each change asked for; nil is silent.
	Log *slog.Logger
}

// Handler serves a Store over HTTP as JSON. Below the path it is mounted at with http.StripPrefix:
//
//	GET    ?resource_type=&id=&tag=scope:value&epoch=   objects, revision and epoch
//	GET    /{resource_type}                             the same for one type
//	GET    /{resource_type}/{id}                        one object; ETag is its revision
//	PUT    /{resource_type}/{id}                        make it be so; If-Match, or a _revision other than 0
//	                                                    in the body, is the revision it must have;
//	                                                    If-None-Match: * makes it a create
//	DELETE /{resource_type}/{id}                        remove it, if it is there; If-Match as above
//	POST   /batch (or :batch)                           {"changes":[{"put":{…}},{"delete":{…},"if_revision":7}]}, all or none
//	GET    /watch?from=&epoch=&resource_type=&id=&tag=  events as JSON lines, with heartbeats
//	GET    /status                                      epoch, revision and number of objects
//
// Faults are answered as {"error","kind","field",…} with status 400 invalid, 403 forbidden, 404
// not_found, 410 compacted, 412 conflict, 413 (too large, kind invalid) or 503 unavailable.
type Handler struct {
	store Store
	cfg   Config
}

// NewHandler makes a Handler for a store.
func NewHandler(store Store, cfg Config) *Handler {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 32 << 20
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{store: store, cfg: cfg}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		refuse(w, err)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	who := ""
	if h.cfg.Principal != nil {
		if who = h.cfg.Principal(r); who == "" {
			return &Error{Kind: ErrForbidden, Err: errors.New("the request names no principal")}
		}
	}
	parts, err := segments(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	route := r.Method + " " + strconv.Itoa(len(parts))
	if len(parts) == 1 {
		switch parts[0] {
		case "watch", "status", "batch", ":batch":
			route = r.Method + " " + strings.TrimPrefix(parts[0], ":")
		}
	}
	switch route {
	case "GET 0":
		return h.list(w, r, "")
	case "GET 1":
		return h.list(w, r, parts[0])
	case "GET 2":
		return h.one(w, r, Key{parts[0], parts[1]})
	case "PUT 2":
		return h.put(w, r, who, Key{parts[0], parts[1]})
	case "DELETE 2":
		return h.remove(w, r, who, Key{parts[0], parts[1]})
	case "POST batch":
		return h.batch(w, r, who)
	case "GET watch":
		return h.watch(w, r)
	case "GET status":
		st, err := h.store.Status(r.Context())
		if err != nil {
			return err
		}
		return reply(w, st)
	}
	if len(parts) > 2 {
		return &Error{Kind: ErrNotFound, Err: fmt.Errorf("no resource at %q", r.URL.Path)}
	}
	w.Header().Set("Allow", "GET, PUT, DELETE, POST")
	return &methodError{fmt.Sprintf("method %s is not possible at %q", r.Method, r.URL.Path)}
}

// methodError is answered with status 405.
type methodError struct{ text string }

func (e *methodError) Error() string { return e.text }
func (e *methodError) Unwrap() error { return ErrInvalid }

// segments splits a path, unescaping each part; empty parts are left out.
func segments(escaped string) ([]string, error) {
	var parts []string
	for part := range strings.SplitSeq(escaped, "/") {
		if part == "" {
			continue
		}
		p, err := url.PathUnescape(part)
		if err != nil {
			return nil, invalid("decode", Key{}, "path", err.Error())
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func reply(w http.ResponseWriter, v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(raw, '\n')) // an error here is the client's going away
	return nil
}

func refuse(w http.ResponseWriter, err error) {
	body, code := toWire(err)
	if _, method := errors.AsType[*methodError](err); method {
		code = http.StatusMethodNotAllowed
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

// query reads the query parameters common to list and watch, and refuses all but those and extra.
func query(r *http.Request, extra string) (Query, url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Query{}, nil, invalid("decode", Key{}, "query", err.Error())
	}
	q := Query{ResourceType: values.Get("resource_type"), ID: values.Get("id"), Epoch: values.Get("epoch")}
	for name, given := range values {
		switch {
		case len(given) > 1:
			return q, nil, invalid("decode", Key{}, name, "given more than once")
		case name == "tag":
			scope, tag, ok := strings.Cut(given[0], ":")
			if !ok {
				return q, nil, invalid("decode", Key{}, name, fmt.Sprintf("%q is not scope:value", given[0]))
			}
			q.Tag = &Tag{scope, tag}
		case name != "resource_type" && name != "id" && name != "epoch" && name != extra:
			return q, nil, invalid("decode", Key{}, name, "unknown query parameter")
		}
	}
	return q, values, nil
}

func (h *Handler) list(w http.ResponseWriter, r *http.Request, resourceType string) error {
	q, _, err := query(r, "")
	if err != nil {
		return err
	}
	q.ResourceType = cmp.Or(resourceType, q.ResourceType)
	for {
		st, err := h.store.Status(r.Context())
		if err != nil {
			return err
		}
		pinned := q
		pinned.Epoch = cmp.Or(q.Epoch, st.Epoch)
		list, rev, err := h.store.List(r.Context(), pinned)
		if errors.Is(err, ErrCompacted) && q.Epoch == "" {
			continue // the epoch changed in between
		}
		if err != nil {
			return err
		}
		if list == nil {
			list = []Object{}
		}
		return reply(w, wireList{Results: list, Count: len(list), Revision: rev, Epoch: pinned.Epoch})
	}
}

func (h *Handler) one(w http.ResponseWriter, r *http.Request, k Key) error {
	o, err := Lookup(r.Context(), h.store, k.ResourceType, k.ID)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(o.Revision, 10)))
	return reply(w, o)
}

// body reads a request's body up to the limit.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.MaxBytes))
	if err != nil {
		return nil, &Error{Op: "decode", Field: "body", Kind: ErrInvalid, Err: err}
	}
	return raw, nil
}

// condition reads the revision a request is bound to; nil if none.
func condition(r *http.Request) (*uint64, error) {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case match != "":
		rev, err := strconv.ParseUint(strings.Trim(match, `"`), 10, 64)
		if err != nil {
			return nil, invalid("decode", Key{}, "If-Match", fmt.Sprintf("%q is not a revision", match))
		}
		return &rev, nil
	case none == "*":
		return new(uint64), nil
	case none != "":
		return nil, invalid("decode", Key{}, "If-None-Match", `only "*" is understood`)
	}
	return nil, nil
}

func (h *Handler) put(w http.ResponseWriter, r *http.Request, who string, k Key) error {
	raw, err := h.body(w, r)
	if err != nil {
		return err
	}
	var o Object
	if err := decodeStrict(raw, &o); err != nil {
		return err
	}
	if o.ResourceType != "" && o.ResourceType != k.ResourceType {
		return invalid("put", k, "resource_type", fmt.Sprintf("%q differs from the path", o.ResourceType))
	}
	if o.ID != "" && o.ID != k.ID {
		return invalid("put", k, "id", fmt.Sprintf("%q differs from the path", o.ID))
	}
	o.ResourceType, o.ID = k.ResourceType, k.ID
	c := Put(o)
	if c.IfRevision, err = condition(r); err != nil {
		return err
	}
	if c.IfRevision == nil && o.Revision != 0 {
		c.IfRevision = &o.Revision
	}
	if _, err := h.apply(r.Context(), who, []Change{c}, trimPut); err != nil {
		return err
	}
	return h.one(w, r, k)
}

func (h *Handler) remove(w http.ResponseWriter, r *http.Request, who string, k Key) error {
	c := Delete(k.ResourceType, k.ID)
	var err error
	if c.IfRevision, err = condition(r); err != nil {
		return err
	}
	rev, err := h.apply(r.Context(), who, []Change{c}, trimPut)
	if err != nil {
		return err
	}
	return reply(w, wireRevision{rev})
}

func (h *Handler) batch(w http.ResponseWriter, r *http.Request, who string) error {
	raw, err := h.body(w, r)
	if err != nil {
		return err
	}
	var b wireBatch
	if err := decodeStrict(raw, &b); err != nil {
		return err
	}
	rev, err := h.apply(r.Context(), who, b.Changes, nil)
	if err != nil {
		return err
	}
	return reply(w, wireRevision{rev})
}

// trimPut takes the place within a batch from the field of an error about the only change.
func trimPut(field string) string {
	field = strings.TrimPrefix(field, "changes[0]")
	field = strings.TrimPrefix(strings.TrimPrefix(field, ".put"), ".delete")
	return strings.TrimPrefix(field, ".")
}

// apply asks the hooks, then the store.
func (h *Handler) apply(ctx context.Context, who string, changes []Change, trim func(string) string) (uint64, error) {
	var errs []error
	for i, c := range changes {
		at := fmt.Sprintf("changes[%d]", i)
		if h.cfg.Authorize != nil {
			if err := h.cfg.Authorize(who, c); err != nil {
				errs = append(errs, &Error{Op: "apply", Key: c.Key(), Field: at, Kind: ErrForbidden, Err: err})
				continue
			}
		}
		if c.Put != nil && h.cfg.Validate != nil {
			if err := h.cfg.Validate(c.Put.Clone()); err != nil {
				errs = append(errs, hookError(err, c.Key(), at+".put"))
			}
		}
	}
	err := errors.Join(errs...)
	rev := uint64(0)
	if err == nil {
		rev, err = h.store.Apply(ctx, changes)
	}
	if e, ok := errors.AsType[*Error](err); ok && trim != nil {
		e.Field = trim(e.Field)
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	h.cfg.Log.Log(ctx, level, "intent changes", "principal", who, "changes", len(changes), "revision", rev, "error", err)
	return rev, err
}

// hookError makes what Validate found an error of this package.
func hookError(err error, k Key, at string) error {
	if e, ok := errors.AsType[*Error](err); ok {
		kind := cmp.Or[error](e.Kind, ErrInvalid)
		return &Error{Op: "validate", Key: k, Field: join(at, e.Field), Kind: kind, Err: cmp.Or(e.Err, kind)}
	}
	return &Error{Op: "validate", Key: k, Field: at, Kind: ErrInvalid, Err: err}
}
