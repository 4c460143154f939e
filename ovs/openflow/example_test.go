package openflow_test

import (
	"context"
	"fmt"

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
