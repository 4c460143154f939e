package cni_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tierloom/tierloom/cni"
)

// An agent answers a plugin's ADD.
func Example() {
	dir, err := os.MkdirTemp("", "cni")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	srv, err := cni.NewServer(cni.Handler{
		Add: func(_ context.Context, req *cni.Request) (*cni.Result, error) {
			if req.Pod.Name == "" {
				return nil, cni.Errorf(cni.CodeUnknownContainer, "no pod in CNI_ARGS")
			}
			return &cni.Result{Interfaces: []cni.Interface{{Name: req.IfName, Sandbox: req.NetNS}}}, nil
		},
		Del: func(context.Context, *cni.Request) (*cni.Result, error) { return nil, nil },
	}, cni.ServerConfig{UIDs: []uint32{uint32(os.Getuid())}})
	if err != nil {
		panic(err)
	}
	lis, err := cni.Listen(filepath.Join(dir, "cni.sock"))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, lis) }()

	client := cni.NewClient(filepath.Join(dir, "cni.sock"), cni.ClientConfig{})
	req := &cni.Request{
		Command: cni.Add, Network: "k8s", ContainerID: "c1", IfName: "eth0", NetNS: "/run/netns/web",
		Pod: cni.Pod{Namespace: "shop", Name: "web"},
	}
	res, err := client.Do(ctx, req)
	fmt.Println(res.Interfaces[0].Name, err)

	req.Pod = cni.Pod{}
	_, err = client.Do(ctx, req)
	fmt.Println(err)
	cancel()
	fmt.Println(<-done)
	// Output:
	// eth0 <nil>
	// no pod in CNI_ARGS (code 3)
	// <nil>
}
