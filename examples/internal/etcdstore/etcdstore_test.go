package etcdstore_test

import (
	"testing"

	"github.com/tierloom/tierloom/examples/internal/etcdstore"
	"github.com/tierloom/tierloom/examples/internal/etcdstore/etcdtest"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/ipamtest"
)

func TestStore(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	ipamtest.TestStore(t, func(t *testing.T, name string) (ipam.Store, func()) {
		return etcdstore.New(server.Client(t), "/"+name), func() {}
	})
}
