package cni

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzDecodeCall(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"request":{"command":"ADD","network":"n","containerID":"c","ifname":"eth0","netns":"/n","pod":{"name":"p"},"args":{"A":"1"}}}`))
	f.Add([]byte(`{"protocol":1,"request":{"command":"GC","validAttachments":[{"containerID":"c","ifname":"e"}]}}`))
	f.Add([]byte(`{"protocol":1,"request":{"command":"CHECK","containerID":"c","ifname":"e","netns":"/n","prevResult":{"ips":[{"address":"10.0.0.1/8"}]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := decodeCall(b)
		if err != nil {
			var e *Error
			if !errors.Is(err, ErrProtocol) && !errors.As(err, &e) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		var buf bytes.Buffer
		if err := writeLine(&buf, call{Protocol: protocolVersion, Request: req}, 1<<30); err != nil {
			t.Fatal(err)
		}
		line, err := readLine(bufio.NewReader(&buf), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeCall(line)
		if err != nil {
			t.Fatal(err)
		}
		var buf2 bytes.Buffer
		if err := writeLine(&buf2, call{Protocol: protocolVersion, Request: again}, 1<<30); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(line)+"\n", buf2.String()); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"result":{"interfaces":[{"name":"eth0"}]}}`))
	f.Add([]byte(`{"protocol":1,"error":{"code":11,"msg":"later"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := decodeReply(b)
		var e *Error
		if err != nil && !errors.Is(err, ErrProtocol) && !errors.As(err, &e) {
			t.Fatalf("untyped error %v", err)
		}
	})
}

func FuzzParseArgs(f *testing.F) {
	f.Add("IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b")
	f.Add("A==;;=")
	f.Fuzz(func(t *testing.T, s string) {
		args, err := ParseArgs(s)
		if err != nil {
			return
		}
		var segs []string
		for k, v := range args {
			if k == "" || strings.ContainsAny(k, ";=") || strings.Contains(v, ";") {
				t.Fatalf("%q=%q out of %q", k, v, s)
			}
			segs = append(segs, k+"="+v)
		}
		again, err := ParseArgs(strings.Join(segs, ";"))
		if err != nil || !cmp.Equal(args, again) {
			t.Fatalf("%v, then %v, %v", args, again, err)
		}
	})
}
