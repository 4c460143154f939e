package ovsdb_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

func TestEndpoint(t *testing.T) {
	for _, tc := range []struct{ remote, want string }{
		{"", "want unix:PATH"},
		{"unix:", "want unix:PATH"},
		{"/var/run/db.sock", "want unix:PATH"},
		{"ssl:127.0.0.1:1", "no TLS configuration"},
		{"udp:127.0.0.1:1", `unknown kind "udp"`},
	} {
		_, err := ovsdb.Endpoint(tc.remote, nil)
		require.ErrorContains(t, err, tc.want, tc.remote)
	}
	absent, err := ovsdb.Endpoint("unix:"+filepath.Join(t.TempDir(), "absent"), nil)
	require.NoError(t, err)
	_, err = ovsdb.Connect(t.Context(), absent, ovsdb.Config{})
	require.ErrorIs(t, err, ovsdb.ErrDisconnected)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, a.pem, a.cert = a.sign(template, template, nil)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert
}

// issue returns a certificate and its key in PEM.
func (a *authority) issue(name string) (cert, key []byte) {
	k, cert, _ := a.sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a.cert, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(a.t, err)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// startTLS runs an ovsdb-server on a port of the loopback that wants
// certificates of the authority, and returns host:port.
func startTLS(t *testing.T, a *authority) string {
	ovstest.Require(t, "ovs")
	dir, err := os.MkdirTemp("", "ovsdb")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if data != nil {
			require.NoError(t, os.WriteFile(path, data, 0o600))
		}
		return path
	}
	cert, key := a.issue("server")
	out, err := exec.Command("ovsdb-tool", "create", file("conf.db", nil), "/usr/share/openvswitch/vswitch.ovsschema").CombinedOutput()
	require.NoError(t, err, "%s", out)
	log := file("log", nil)
	cmd := exec.Command("ovsdb-server", file("conf.db", nil), "--remote=pssl:0:127.0.0.1", "--no-chdir",
		"--private-key="+file("key.pem", key), "--certificate="+file("cert.pem", cert), "--ca-cert="+file("ca.pem", a.pem),
		"--unixctl="+file("ctl", nil), "--log-file="+log, "-vconsole:off")
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	port := regexp.MustCompile(`listening on port (\d+)`)
	var found [][]byte
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(log)
		found = port.FindSubmatch(text)
		return found != nil
	}, 30*time.Second, 10*time.Millisecond)
	return "127.0.0.1:" + string(found[1])
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	addr := startTLS(t, a)
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	certPEM, keyPEM := a.issue("client")
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	require.NoError(t, err)
	ctx := within(t)
	connect := func(remote string, config *tls.Config) error {
		dial, err := ovsdb.Endpoint(remote, config)
		require.NoError(t, err)
		c, err := ovsdb.Connect(ctx, dial, ovsdb.Config{})
		if err != nil {
			return err
		}
		defer func() { require.NoError(t, c.Close()) }()
		names, err := c.Databases(ctx)
		if err == nil {
			require.Contains(t, names, ovsdb.VSwitchDB)
		}
		return err
	}
	require.NoError(t, connect("ssl:"+addr, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}))
	require.ErrorIs(t, connect("ssl:"+addr, &tls.Config{RootCAs: roots}), ovsdb.ErrDisconnected, "a client without a certificate")
	require.ErrorContains(t, connect("ssl:"+addr, &tls.Config{Certificates: []tls.Certificate{pair}}), "certificate", "a server that is not trusted")
	require.ErrorIs(t, connect("tcp:"+addr, nil), ovsdb.ErrDisconnected, "no TLS")
}

// Any net.Conn carries a Client.
func TestAnyConn(t *testing.T) {
	near, far := net.Pipe()
	c, err := ovsdb.Connect(t.Context(), func(context.Context) (net.Conn, error) { return near, nil }, ovsdb.Config{})
	require.NoError(t, err)
	go func() {
		buf := make([]byte, 1024)
		n, _ := far.Read(buf)
		if !bytes.Contains(buf[:n], []byte("list_dbs")) {
			t.Errorf("got %s", buf[:n])
		}
		_, _ = far.Write([]byte(`{"id":1,"result":["a"],"error":null}`))
	}()
	names, err := c.Databases(within(t))
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	require.NoError(t, c.Close())
}
