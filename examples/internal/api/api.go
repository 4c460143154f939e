// Package api is the manager's REST interface beyond the intent store:
// allocations and realization, with a client for both.
//
//	/api/v1/intent/...           the intent store (reconcile/intent)
//	/api/v1/spans/{host}/...     what one host needs, read only
//	/api/v1/realized/...         which ports are realized, read only
//	POST   /api/v1/hosts/{host}/realized   a host agent's acknowledgement
//	GET    /api/v1/allocations             list
//	POST   /api/v1/allocations             allocate; idempotent for an owner
//	DELETE /api/v1/allocations             release; idempotent
//	GET    /api/v1/records                 what leases hold, and why
//	GET    /api/v1/status                  revision counters
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// Kinds of allocation and what their pool is.
const (
	Subnet  = "subnet"  // pool: an IpAddressBlock
	Address = "address" // pool: an IpAddressPool, or a Segment as "segment/<id>"
	VLAN    = "vlan"    // pool: a parent port
	VNI     = "vni"     // pool: empty
	MAC     = "mac"     // pool: empty
)

// An Allocation is something leased to an owner from a pool.
type Allocation struct {
	Kind  string `json:"kind"`
	Pool  string `json:"pool,omitempty"`
	Owner string `json:"owner"`
	// PrefixLength is asked for with kind subnet.
	PrefixLength int `json:"prefix_length,omitempty"`
	// Value is what was given; with kind address it may also be asked for.
	Value string `json:"value,omitempty"`
}

// An Ack is what a host agent has realized of its span.
type Ack struct {
	Epoch    string `json:"epoch"`
	Revision uint64 `json:"revision"`
	// Errors says which ports could not be realized, and why.
	Errors map[string]string `json:"errors,omitempty"`
}

// Status is the manager's revision counters.
type Status struct {
	Epoch string `json:"epoch"`
	// Revision counts writes of intent.
	Revision uint64 `json:"revision"`
	// Allocations counts writes of leases, including releases.
	Allocations uint64 `json:"allocations"`
	Objects     int    `json:"objects"`
	Leases      int    `json:"leases"`
}

// Reasons that an allocation is refused for; they end up in the status of
// the object it was for.
const (
	ReasonExhausted  = "EXHAUSTED"
	ReasonInUse      = "IN_USE"
	ReasonOutOfRange = "OUT_OF_RANGE"
	ReasonNotFound   = "POOL_NOT_FOUND"
	ReasonInvalid    = "INVALID"
)

// Error is a refusal by the manager.
type Error struct {
	Code    int    `json:"-"` // HTTP status
	Reason  string `json:"reason"`
	Message string `json:"error"`
}

func (e *Error) Error() string { return e.Message }

// IsReason reports whether err is a refusal for the reason.
func IsReason(err error, reason string) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == reason
}

// A Client speaks to the manager. It is safe for concurrent use.
type Client struct {
	// Intent and Realized are the stores of intent and of realized ports.
	Intent, Realized intent.Store

	base string
	http *http.Client
}

// NewClient returns a client for a manager at base, such as
// "https://192.0.2.1:7443".
func NewClient(base string, hc *http.Client) *Client {
	return &Client{
		Intent:   intent.NewClient(base+"/api/v1/intent", hc),
		Realized: intent.NewClient(base+"/api/v1/realized", hc),
		base:     base, http: hc,
	}
}

// Span returns the store of one host's span.
func (c *Client) Span(host string) intent.Store {
	return intent.NewClient(c.base+"/api/v1/spans/"+url.PathEscape(host), c.http)
}

// Allocate leases from a pool to an owner. The same request from the same
// owner returns the same value.
func (c *Client) Allocate(ctx context.Context, a Allocation) (Allocation, error) {
	var out Allocation
	return out, c.do(ctx, http.MethodPost, "/api/v1/allocations", a, &out)
}

// Release gives back what an owner holds of a pool; it may hold nothing.
func (c *Client) Release(ctx context.Context, a Allocation) error {
	return c.do(ctx, http.MethodDelete, "/api/v1/allocations", a, nil)
}

// Allocations lists the leases whose owner starts with prefix.
func (c *Client) Allocations(ctx context.Context, ownerPrefix string) ([]Allocation, error) {
	var out []Allocation
	return out, c.do(ctx, http.MethodGet, "/api/v1/allocations?owner_prefix="+url.QueryEscape(ownerPrefix), nil, &out)
}

// Records lists what is known of every leased value: who has it, or had it and
// why it is held back.
func (c *Client) Records(ctx context.Context) ([]ipam.Record, error) {
	var out []ipam.Record
	return out, c.do(ctx, http.MethodGet, "/api/v1/records", nil, &out)
}

// Acknowledge tells the manager what a host has realized.
func (c *Client) Acknowledge(ctx context.Context, host string, ack Ack) error {
	return c.do(ctx, http.MethodPost, "/api/v1/hosts/"+url.PathEscape(host)+"/realized", ack, nil)
}

// Status returns the manager's counters.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.do(ctx, http.MethodGet, "/api/v1/status", nil, &s)
}

// requestTimeout bounds a request that has no earlier deadline.
const requestTimeout = 10 * time.Second

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if resp.StatusCode >= 300 {
		e := &Error{Code: resp.StatusCode}
		if json.Unmarshal(raw, e) != nil || e.Message == "" {
			e.Message = fmt.Sprintf("manager: %s %s: %s", method, path, resp.Status)
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("manager: %s %s: %w", method, path, err)
	}
	return nil
}
