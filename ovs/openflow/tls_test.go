package openflow_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
)

// TestTLS has requests given up, and many written and read, over TLS. By the fake
// clock a context ends while an answer is awaited; in the middle of a write it
// would end the connection, too.
func TestTLS(t *testing.T) { synctest.Test(t, testTLS) }

func testTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"switch"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)

	ours, theirs := net.Pipe()
	go serveObedient(tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))
	c, err := openflow.New(t.Context(), tls.Client(ours, &tls.Config{RootCAs: roots, ServerName: "switch"}), openflow.Config{})
	require.NoError(t, err)
	defer c.Close()
	for range 20 { // a dump is not answered
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := c.Flows(ctx, 0, 0)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, c.Barrier(t.Context()))
		require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{{Priority: 1}}}))
	}
	n, err := c.AddFlows(t.Context(), typicals(5000))
	require.NoError(t, err)
	require.Equal(t, 5000, n)
}
