package proc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

// TLS names the PEM files of one end of a mutually authenticated connection.
type TLS struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Flags binds the files to --tls-ca, --tls-cert and --tls-key.
func (t *TLS) Flags(fs *flag.FlagSet) {
	fs.StringVar(&t.CA, "tls-ca", t.CA, "PEM `file` of the authority that signed the other end's certificate")
	fs.StringVar(&t.Cert, "tls-cert", t.Cert, "PEM `file` of our certificate")
	fs.StringVar(&t.Key, "tls-key", t.Key, "PEM `file` of our key")
}

// Validate wants all three files or none.
func (t TLS) Validate() error {
	if (t.CA == "") != (t.Cert == "") || (t.CA == "") != (t.Key == "") {
		return errors.New("tls: ca, cert and key go together: give all three or none")
	}
	return nil
}

// Enabled reports whether files are given.
func (t TLS) Enabled() bool { return t.CA != "" }

func (t TLS) load() (*x509.CertPool, tls.Certificate, error) {
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("tls: ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, tls.Certificate{}, fmt.Errorf("tls: ca %s: no certificate in it", t.CA)
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("tls: %w", err)
	}
	return pool, pair, nil
}

// Server returns a configuration that requires a client certificate.
func (t TLS) Server() (*tls.Config, error) {
	pool, pair, err := t.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// HTTPClient returns a client for the manager; without files, a plain one.
func (t TLS) HTTPClient() (*http.Client, error) {
	tr := &http.Transport{
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: false,
	}
	if t.Enabled() {
		pool, pair, err := t.load()
		if err != nil {
			return nil, err
		}
		tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{pair}}
	}
	return &http.Client{Transport: tr}, nil
}
