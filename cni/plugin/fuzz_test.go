package plugin_test

import (
	"errors"
	"testing"

	"github.com/tierloom/tierloom/cni"
	"github.com/tierloom/tierloom/cni/plugin"
)

func FuzzParseConfig(f *testing.F) {
	for _, s := range []string{
		`{"cniVersion":"1.1.0","name":"k8s","type":"tierloom","socket":"/run/s","timeout":"1m","dns":{"search":["a"]}}`,
		`{"cniVersion":"0.4.0","name":"k8s","type":"tierloom","prevResult":{"ips":[{"version":"4","address":"10.0.0.1/8","interface":0}],"interfaces":[{"name":"a"}],"routes":[{"dst":"::/0"}]}}`,
		`{"cniVersion":"1.1.0","name":"k8s","type":"tierloom","prevResult":{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/8","routes":[null]}}}`,
		`{"cniVersion":"1.0.0","name":"k8s","type":"tierloom","cni.dev/valid-attachments":[{"containerID":"a","ifname":"b"}]}`,
		`null`, `[]`, `{"cniVersion":"1.1.0","prevResult":null}`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, strict bool) {
		c, err := plugin.ParseConfig(b, "tierloom", strict)
		if err != nil {
			var e *cni.Error
			if !errors.As(err, &e) || e.Code == 0 {
				t.Fatalf("%v is no *cni.Error", err)
			}
			return
		}
		if c.Name == "" || c.Socket == "" || c.Timeout <= 0 {
			t.Fatalf("accepted %+v", c)
		}
		if c.PrevResult != nil {
			if err := c.PrevResult.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
