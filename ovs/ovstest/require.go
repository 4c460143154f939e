package ovstest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// RequireEnv is the environment variable that turns a skip into a failure: a
// comma-separated list of the names that Require knows.
const RequireEnv = "TIERLOOM_REQUIRE"

// schemaPath is where Debian and Fedora put the schema of the Open_vSwitch database.
const schemaPath = "/usr/share/openvswitch/vswitch.ovsschema"

// Require skips the test unless all the named things are there, or fails it
// when TIERLOOM_REQUIRE lists the missing one. Known names: "ovs" (the Open
// vSwitch daemons, tools and schema), "root" (user id 0 and network
// namespaces). Any other name is a program to be found on the PATH.
func Require(t testing.TB, what ...string) {
	t.Helper()
	must := strings.Split(os.Getenv(RequireEnv), ",")
	for _, name := range what {
		reason := missing(name)
		switch {
		case reason == "":
		case slices.Contains(must, name):
			t.Fatalf("ovstest: %s lists %q: %s", RequireEnv, name, reason)
		default:
			t.Skipf("needs %s: %s", name, reason)
		}
	}
}

// missing says why the named thing cannot be used, or "".
func missing(name string) string {
	var programs []string
	switch name {
	case "ovs":
		programs = []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"}
		if _, err := os.Stat(schemaPath); err != nil {
			return err.Error()
		}
	case "root":
		if id := os.Geteuid(); id != 0 {
			return fmt.Sprintf("running as user %d", id)
		}
		programs = []string{"ip"}
	default:
		programs = []string{name}
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return err.Error()
		}
	}
	return ""
}
