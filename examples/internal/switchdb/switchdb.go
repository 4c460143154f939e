// Package switchdb is an agent's way to the database of its machine's Open
// vSwitch, through restarts of ovsdb-server.
package switchdb

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tierloom/tierloom/ovs/ovsdb"
)

// A DB is a database that is connected while its Run runs, and again after
// every cut; what it knows then goes on from where it was. Make one with [New].
// It may be used by several goroutines.
type DB struct {
	session *ovsdb.Session

	mu sync.Mutex
	vs *ovsdb.VSwitch // nil before the first connection
}

// New returns the database whose socket is in Open vSwitch's run directory.
func New(runDir string) (*DB, error) {
	dial, err := ovsdb.Endpoint("unix:"+filepath.Join(runDir, "db.sock"), nil)
	if err != nil {
		return nil, err
	}
	return &DB{session: ovsdb.NewSession(dial, ovsdb.SessionConfig{MaxBackoff: time.Second})}, nil
}

// Run keeps the database connected until ctx is done.
func (d *DB) Run(ctx context.Context) { _ = d.session.Run(ctx) }

// patience is how long Switch waits for a connection before it says why there is none.
const patience = 2 * time.Second

// Switch returns what the database configures, once it is connected. It is
// always the same; while there is no connection its calls are
// ovsdb.ErrDisconnected.
func (d *DB) Switch(ctx context.Context) (*ovsdb.VSwitch, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.session.Ready(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.vs != nil {
		return d.vs, nil
	}
	vs, err := ovsdb.NewVSwitch(ctx, d.session)
	if err == nil {
		d.vs = vs
	}
	return vs, err
}

// Watch calls changed now and after each change of a bridge, port or
// interface until ctx is done, and returns why it ended. When the connection
// is lost it calls lost with the reason, and back when there is another. Calls
// are never concurrent.
func (d *DB) Watch(ctx context.Context, changed func(), lost func(error), back func()) error {
	vs, err := d.Switch(ctx)
	if err != nil {
		return err
	}
	for {
		why := vs.Watch(ctx, changed)
		if ctx.Err() == nil {
			lost(why)
			err = d.session.Ready(ctx)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("follow the switch: %w", context.Cause(ctx))
		}
		if err != nil {
			return err
		}
		back()
	}
}
