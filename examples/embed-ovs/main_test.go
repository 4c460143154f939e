package main

import (
	"bufio"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

// TestRun runs the program against a real switch, sends packets into its port
// and reads what it counts.
func TestRun(t *testing.T) {
	in := ovstest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, in.RunDir, "netdev", w)
		w.CloseWithError(err)
		ended <- err
	}()
	lines := bufio.NewScanner(r)
	require.True(t, lines.Scan(), lines.Err())
	require.Regexp(t, `^flow cookie=0x100000000000000,table=0,priority=10,in_port=\d+ actions=LOCAL$`, lines.Text())
	for _, addr := range [][]string{{"address", "add", "10.9.0.1/24", "dev", "embed0"}, {"link", "set", "embed0", "up"}} {
		ovstest.Run(t, in.NetNS, append([]string{"ip"}, addr...)...)
	}
	// Nobody answers: what counts is the question.
	_, err := ovstest.Exec(t.Context(), in.NetNS, "ping", "-c1", "-W1", "10.9.0.2")
	require.Error(t, err)
	require.True(t, lines.Scan(), lines.Err())
	require.Regexp(t, `^[1-9]\d* packets$`, lines.Text())
	cancel()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	require.ErrorIs(t, <-ended, context.Canceled)
}
