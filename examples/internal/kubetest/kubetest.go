//go:build linux

// Package kubetest runs a real Kubernetes API server for tests: kube-apiserver
// over etcd, on loopback addresses, its data in the test's own folder. No
// controller runs beside it: a test makes what a controller would.
//
//	s := kubetest.Start(t)
//	s.Apply(t, "../../deploy/crds.yaml")
//	source, err := cluster.OpenKube(s.Kubeconfig(t, "kube-system", "tierloom-ncp"), "", nil)
package kubetest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/tierloom/tierloom/examples/internal/child"
	"github.com/tierloom/tierloom/examples/internal/etcdstore/etcdtest"
	"github.com/tierloom/tierloom/examples/internal/loopback"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A Server is one API server and its etcd. Both end with the test.
type Server struct {
	// Config is an administrator's.
	Config  *rest.Config
	Client  kubernetes.Interface
	Dynamic dynamic.Interface

	api *child.Process
}

// adminToken is what the administrator of a server that lives for one test shows.
const adminToken = "kubetest-admin"

// Start runs an API server, or skips the test where `make kube` has not built
// one or etcd is missing.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := filepath.Abs("../../../bin")
	require.NoError(t, err)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	ovstest.Require(t, "kube-apiserver")
	dir := t.TempDir()
	etcd := etcdtest.Start(t, filepath.Join(dir, "etcd"))
	address := loopback.Address(t)
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	key, tokens := filepath.Join(dir, "sa.key"), filepath.Join(dir, "tokens.csv")
	writeKey(t, key)
	require.NoError(t, os.WriteFile(tokens, []byte(adminToken+",admin,admin,system:masters\n"), 0o600))
	s := &Server{Config: &rest.Config{
		Host: "https://" + address, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 200, Burst: 400,
	}}
	s.api = &child.Process{Name: "kube-apiserver", Log: filepath.Join(dir, "apiserver.log"), Argv: []string{
		"kube-apiserver",
		"--etcd-servers", etcd.Endpoint, "--cert-dir", filepath.Join(dir, "certs"),
		"--bind-address", host, "--advertise-address", "127.0.0.1", "--secure-port", port,
		"--token-auth-file", tokens, "--authorization-mode", "RBAC", "--anonymous-auth=false",
		"--service-account-issuer", "https://kubetest", "--service-account-key-file", key, "--service-account-signing-key-file", key,
		"--service-cluster-ip-range", "10.96.0.0/16", "--disable-admission-plugins", "ServiceAccount",
	}}
	require.NoError(t, s.api.Start())
	t.Cleanup(s.api.Kill)
	s.Client = kubernetes.NewForConfigOrDie(s.Config)
	s.Dynamic = dynamic.NewForConfigOrDie(s.Config)
	s.waitReady(t)
	return s
}

// Restart kills the API server and starts it again.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.api.Kill()
	require.NoError(t, s.api.Start())
	s.waitReady(t)
}

func (s *Server) waitReady(t testing.TB) {
	t.Helper()
	var err error
	ready := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err = s.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		return err == nil || !s.api.Running()
	}
	require.Eventually(t, ready, 2*time.Minute, 50*time.Millisecond)
	if err != nil {
		log, _ := os.ReadFile(s.api.Log)
		t.Fatalf("kube-apiserver: %v\n%s", err, log[max(0, len(log)-4000):])
	}
}

func writeKey(t testing.TB, file string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
}

// Kubeconfig writes a kubeconfig of a service account, and returns its file.
func (s *Server) Kubeconfig(t testing.TB, namespace, account string) string {
	t.Helper()
	token := s.token(t, namespace, account)
	file := filepath.Join(t.TempDir(), account+".kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, s.Config.Host, token)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}
