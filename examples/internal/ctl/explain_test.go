package ctl_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	addr := startManager(t)
	for _, f := range []string{"objects", "policy"} {
		code, _, errs := run(t, "-manager http://"+addr+" apply -f testdata/"+f+".yaml")
		require.Zero(t, code, errs)
	}
	for args, want := range map[string]string{
		"-from shop/web-0 -to shop/db-0:5432": `TCP 10.4.0.3:40000 -> 10.4.0.4:5432: ALLOW
  OUT at port web-2: ALLOW by default
  IN at port db-1: ALLOW by rule "sql" of section "shop"
`,
		"-from shop/web-0 -to 10.4.0.4:22 -cluster c1": `TCP 10.4.0.3:40000 -> 10.4.0.4:22: DROP
  OUT at port web-2: ALLOW by default
  IN at port db-1: DROP by rule "rest" of section "shop"
    came close: rule "sql" of section "shop" ALLOW: another service
`,
		"-from 192.0.2.7 -to shop/db-0 -proto icmp": `ICMP 192.0.2.7 -> 10.4.0.4 type 8 code 0: DROP
  OUT: no port of ours
  IN at port db-1: DROP by rule "rest" of section "shop"
`,
		"-from shop/db-0 -to shop/db-0:22": `TCP 10.4.0.4:40000 -> 10.4.0.4:22: ALLOW
  port db-1 to itself: no rule is tried
`,
	} {
		code, out, errs := run(t, "-manager http://"+addr+" policy explain "+args)
		require.Zero(t, code, errs)
		require.Equal(t, want, out, args)
	}
	code, out, errs := run(t, "-manager http://"+addr+" policy rules")
	require.Zero(t, code, errs)
	require.Equal(t, `CATEGORY     SEQUENCE  SECTION  RULE  DIRECTION  ACTION  NAME
Application  0         shop     sql   IN         ALLOW   
Application  0         shop     rest  IN         DROP    
`, out)
	for args, want := range map[string]string{
		"-from shop/web-9 -to shop/db-0:1":             "there is no pod shop/web-9 with a port",
		"-from shop/web-0 -to shop/db-0:1 -cluster c2": "there is no pod shop/web-0 with a port",
		"-from 2001:db8::1 -to shop/db-0:1":            "no address family in common",
	} {
		code, out, errs := run(t, "-manager http://"+addr+" policy explain "+args)
		require.Equal(t, 1, code, args)
		require.Empty(t, out)
		require.Contains(t, errs, want, args)
	}
}
