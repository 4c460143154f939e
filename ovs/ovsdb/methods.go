package ovsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// Databases returns the names of the server's databases (list_dbs).
func (c *Client) Databases(ctx context.Context) ([]string, error) {
	data, err := c.call(ctx, "list_dbs", []any{}, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return nil, fmt.Errorf("ovsdb: list_dbs: %w", malformed("%v", err))
	}
	return names, nil
}

// Schema returns the schema of a database (get_schema).
func (c *Client) Schema(ctx context.Context, db string) (*Schema, error) {
	data, err := c.call(ctx, "get_schema", []any{db}, nil)
	if err != nil {
		return nil, err
	}
	return ParseSchema(data)
}

// Transact carries the operations out, in order, together or not at all, and
// returns one Result for each. What the server refuses is an *Error. When the
// context ends first, the transaction is cancelled but may have happened.
func (c *Client) Transact(ctx context.Context, db string, ops ...Operation) ([]Result, error) {
	params := make([]any, 0, len(ops)+1)
	params = append(params, db)
	for _, op := range ops {
		params = append(params, op)
	}
	data, err := c.call(ctx, "transact", params, nil)
	if err != nil {
		return nil, err
	}
	results, err := decodeResults(data, ops)
	if err != nil && !isServer(err) {
		err = fmt.Errorf("ovsdb: %w", err)
	}
	return results, err
}

// isServer reports whether err is the server's own.
func isServer(err error) bool {
	_, ok := err.(*Error)
	return ok
}

// ServerID returns the UUID of the server process, which another one does not
// have (get_server_id of ovsdb-server(7)).
func (c *Client) ServerID(ctx context.Context) (UUID, error) {
	data, err := c.call(ctx, "get_server_id", []any{}, nil)
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return "", fmt.Errorf("ovsdb: get_server_id: %w", malformed("%v", err))
	}
	id, err := ParseUUID(text)
	if err != nil {
		return "", fmt.Errorf("ovsdb: get_server_id: %w", err)
	}
	return id, nil
}

// SetDBChangeAware tells the server whether to keep the connection when a
// database is added, removed or converted (set_db_change_aware of
// ovsdb-server(7)). A server ends connections that are not aware.
func (c *Client) SetDBChangeAware(ctx context.Context, aware bool) error {
	_, err := c.call(ctx, "set_db_change_aware", []any{aware}, nil)
	return err
}

// Echo returns once the server has answered.
func (c *Client) Echo(ctx context.Context) error {
	_, err := c.call(ctx, "echo", []any{}, nil)
	return err
}

// compact is the text by which equal JSON values are recognised.
func compact(data json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return string(data)
	}
	return b.String()
}
