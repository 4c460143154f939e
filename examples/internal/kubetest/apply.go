//go:build linux

package kubetest

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// Apply applies the documents of a file, server side, as `kubectl apply
// --server-side -f` would.
func (s *Server) Apply(t testing.TB, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, doc := range bytes.Split(raw, []byte("\n---\n")) {
		s.ApplyText(t, string(doc))
	}
}

// ApplyText applies one document.
func (s *Server) ApplyText(t testing.TB, doc string) {
	t.Helper()
	var u unstructured.Unstructured
	require.NoError(t, yaml.UnmarshalStrict([]byte(doc), &u.Object), doc)
	_, err := s.resource(t, &u).Apply(t.Context(), u.GetName(), &u, metav1.ApplyOptions{FieldManager: "kubetest", Force: true})
	require.NoError(t, err, doc)
}

// resource returns where an object lives. A kind whose definition was just
// applied takes the server a moment to serve.
func (s *Server) resource(t testing.TB, u *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	gvk := u.GroupVersionKind()
	var mapping *meta.RESTMapping
	require.Eventually(t, func() bool {
		groups, err := restmapper.GetAPIGroupResources(s.Client.Discovery())
		if err != nil {
			return false
		}
		mapping, err = restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(gvk.GroupKind(), gvk.Version)
		return err == nil
	}, 30*time.Second, 100*time.Millisecond, "%s is served", gvk)
	all := s.Dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return all.Namespace(u.GetNamespace())
	}
	return all
}

// token returns a token of a service account, as the kubelet would mount it.
func (s *Server) token(t testing.TB, namespace, account string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	hour := int64(3600)
	r, err := s.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	require.NoError(t, err)
	return r.Status.Token
}
