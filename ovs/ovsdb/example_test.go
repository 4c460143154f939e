package ovsdb_test

import (
	"fmt"

	"github.com/tierloom/tierloom/ovs/ovsdb"
)

// A row to be written is a struct with tagged fields, and so is one read.
func ExampleMarshal() {
	type bridge struct {
		Name        string            `ovsdb:"name"`
		FailMode    *string           `ovsdb:"fail_mode,enum=secure|standalone"`
		Ports       []ovsdb.UUID      `ovsdb:"ports"`
		ExternalIDs map[string]string `ovsdb:"external_ids"`
	}
	secure := "secure"
	row, err := ovsdb.Marshal(bridge{Name: "br-int", FailMode: &secure, ExternalIDs: map[string]string{"owner": "agent"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ovsdb.Insert("Bridge", "new", row))

	var back bridge
	if err := ovsdb.Unmarshal(row, &back); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(back.Name, *back.FailMode, back.ExternalIDs["owner"])
	// Output:
	// {"op":"insert","row":{"external_ids":["map",[["owner","agent"]]],"fail_mode":["set",["secure"]],"name":"br-int","ports":["set",[]]},"table":"Bridge","uuid-name":"new"}
	// br-int secure agent
}

func ExampleWhere() {
	fmt.Println(ovsdb.Select("Interface", []string{"ofport", "error"}, ovsdb.Where("name", "vif1")))
	// Output:
	// {"columns":["ofport","error"],"op":"select","table":"Interface","where":[["name","==","vif1"]]}
}
