package intent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client is the Store behind a Handler elsewhere. It keeps no state of its own and never retries.
// Use NewClient.
type Client struct {
	base string
	http *http.Client
	// Silence is how long a watch may go without a line, heartbeats included, before its peer counts
	// as gone; 0: 15 s. Set it before the first use.
	Silence time.Duration
	// Timeout limits every request but watches, besides the caller's context; 0: 30 s. Set it
	// before the first use.
	Timeout time.Duration
}

// NewClient makes a client for the Handler at baseURL, such as
// https://manager:8443/api/v1/intent. A nil hc is http.DefaultClient. The Timeout of hc is not used,
// since it would end watches.
func NewClient(baseURL string, hc *http.Client) *Client {
	if hc == nil {
		hc = http.DefaultClient
	}
	own := *hc
	own.Timeout = 0
	return &Client{base: strings.TrimRight(baseURL, "/"), http: &own}
}

// List implements Store.
func (c *Client) List(ctx context.Context, q Query) ([]Object, uint64, error) {
	var got wireList
	if err := c.call(ctx, "list", http.MethodGet, "/?"+values(q).Encode(), nil, &got); err != nil {
		return nil, 0, err
	}
	return got.Results, got.Revision, nil
}

// Apply implements Store.
func (c *Client) Apply(ctx context.Context, changes []Change) (uint64, error) {
	raw, err := encode(wireBatch{changes})
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			return 0, e
		}
		return 0, &Error{Op: "apply", Kind: ErrInvalid, Err: err}
	}
	var got wireRevision
	if err := c.call(ctx, "apply", http.MethodPost, "/batch", raw, &got); err != nil {
		return 0, err
	}
	return got.Revision, nil
}

// Status implements Store.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var got Status
	return got, c.call(ctx, "status", http.MethodGet, "/status", nil, &got)
}

func values(q Query) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("resource_type", q.ResourceType)
	set("id", q.ID)
	set("epoch", q.Epoch)
	if q.Tag != nil {
		v.Set("tag", q.Tag.Scope+":"+q.Tag.Tag)
	}
	return v
}

func (c *Client) call(ctx context.Context, op, method, target string, body []byte, into any) error {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.send(ctx, op, method, target, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return unavailable(op, fmt.Errorf("answer of %s: %w", c.base, err))
	}
	_, _ = io.Copy(io.Discard, resp.Body) // lets the connection be used again
	return nil
}

func unavailable(op string, err error) error {
	return &Error{Op: op, Kind: ErrUnavailable, Err: err}
}

// send makes a request; an answer other than 200 becomes an error.
func (c *Client) send(ctx context.Context, op, method, target string, body []byte) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+target, r)
	if err != nil {
		return nil, unavailable(op, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unavailable(op, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, unavailable(op, err)
	}
	var w wireError
	if json.Unmarshal(raw, &w) != nil || w.Kind == "" {
		return nil, unavailable(op, fmt.Errorf("%s answered %s: %.200q", c.base, resp.Status, raw))
	}
	return nil, fromWire(&w)
}

// Watch implements Store.
func (c *Client) Watch(ctx context.Context, from uint64, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		err := c.stream(ctx, from, q, func(ev Event) bool { return yield(ev, nil) })
		switch {
		case err == nil: // the caller broke off
		case ctx.Err() != nil:
			yield(Event{}, ctx.Err())
		default:
			yield(Event{}, err)
		}
	}
}

// stream reads a watch until it fails, or take says no.
func (c *Client) stream(ctx context.Context, from uint64, q Query, take func(Event) bool) error {
	silence := c.Silence
	if silence <= 0 {
		silence = 3 * defaultHeartbeat
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// While the caller has an event the peer is not to blame for silence, so the timer is stopped.
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	v := values(q)
	v.Set("from", strconv.FormatUint(from, 10))
	gone := func(err error) error {
		if !quiet.Stop() && ctx.Err() != nil {
			err = fmt.Errorf("nothing heard from %s for %s", c.base, silence)
		}
		return unavailable("watch", err)
	}
	resp, err := c.send(ctx, "watch", http.MethodGet, "/watch?"+v.Encode(), nil)
	if errors.Is(err, ErrUnavailable) {
		return gone(err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		quiet.Reset(silence)
		raw, err := lines.ReadBytes('\n')
		if err != nil {
			return gone(err)
		}
		quiet.Stop()
		var line wireEvent
		if err := json.Unmarshal(raw, &line); err != nil {
			return unavailable("watch", fmt.Errorf("line %.80q: %w", raw, err))
		}
		switch {
		case line.Type == "heartbeat":
		case line.Error != nil:
			return fromWire(line.Error)
		case line.Object != nil && (line.Type == string(EventPut) || line.Type == string(EventDelete)):
			if !take(Event{EventType(line.Type), line.Revision, *line.Object, line.More}) {
				return nil
			}
		default:
			return unavailable("watch", fmt.Errorf("line of unknown type %q", line.Type))
		}
	}
}

var _ Store = (*Client)(nil)
