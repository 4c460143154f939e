package openflow_test

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
)

func ExampleConn_Apply() {
	ctx := context.Background()
	c, err := openflow.Dial(ctx, "unix", "/nonexistent/br-int.mgmt", openflow.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	flow := ovs.Flow{Priority: 1, Match: ovs.NewMatch(ovs.InPort(1)), Actions: []ovs.Action{ovs.Output(2)}}
	fmt.Println(c.Apply(ctx, ovs.Changes{FlowAdd: []ovs.Flow{flow}}))
	// Output: openflow: dial unix /nonexistent/br-int.mgmt: connect: no such file or directory
}

func ExampleConn_AddFlows() {
	ctx := context.Background()
	c, err := openflow.New(ctx, someSwitch(obey), openflow.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	n, err := c.AddFlows(ctx, func(yield func(ovs.Flow) bool) {
		for i := range uint32(10_000) { // made one by one as they are sent
			f := ovs.Flow{Table: 1, Priority: 1, Match: ovs.NewMatch(ovs.Reg(0, i)), Actions: []ovs.Action{ovs.Goto(2)}}
			if !yield(f) {
				return
			}
		}
	})
	fmt.Println(n, "flows in force,", err)
	// Output: 10000 flows in force, <nil>
}

func ExampleSubscription() {
	ctx := context.Background()
	c, err := openflow.New(ctx, someSwitch(addsPort), openflow.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	s, err := c.Subscribe(ctx, 100)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	e, err := s.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	switch e := e.(type) {
	case openflow.PortStatus:
		fmt.Println("port", e.Port.Number, e.Port.Name, e.Port.MAC)
	case openflow.Lost:
		fmt.Println("too slow:", e.PortStatus, "changes of ports are lost")
	}
	// Output: port 3 veth3 02:00:00:00:00:01
}

// someSwitch is in memory and answers each message by answer.
func someSwitch(answer func(w io.Writer, m message)) net.Conn {
	ours, theirs := net.Pipe()
	go serve(theirs, answer)
	return ours
}

// addsPort is a switch that gains a port when somebody subscribes.
func addsPort(w io.Writer, m message) {
	const setConfig = 9
	if m.typ == setConfig {
		port := append([]byte{0, 0, 0, 3, 0, 40, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0}, "veth3"...)
		_, _ = w.Write(message{6, 12, 0, append(make([]byte, 8), append(port, make([]byte, 19)...)...)}.bytes())
	}
	obey(w, m)
}
