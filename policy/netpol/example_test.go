package netpol_test

import (
	"errors"
	"fmt"
	"log"

	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/policy/netpol"
)

func ExampleCompileCluster() {
	var p netpol.ClusterNetworkPolicy
	err := yaml.Unmarshal([]byte(`
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {stage: production}}}
  egress:
  - {name: metrics, action: Accept, to: [{nodes: {}}], protocols: [{tcp: {destinationPort: {number: 9100}}}]}
  - {name: updates, action: Accept, to: [{domainNames: [updates.example.com]}]}
  - {name: nothing-else, action: Deny, to: [{networks: [0.0.0.0/0]}]}
`), &p)
	if err != nil {
		log.Fatal(err)
	}
	groups, sections, err := netpol.CompileCluster(&p, netpol.Config{})
	var unsupported *netpol.UnsupportedError
	if errors.As(err, &unsupported) {
		fmt.Println("fails closed:", unsupported.Fields)
	} else if err != nil {
		log.Fatal(err)
	}
	for _, g := range groups {
		fmt.Println("group", g.ID)
	}
	for _, s := range sections {
		fmt.Println("section", s.ID, s.Category, s.Priority, "applied to", s.AppliedTo)
		for _, r := range s.Rules {
			fmt.Println(" ", r.DisplayName, r.Direction, r.Action, r.Destinations)
		}
	}
	// Output:
	// fails closed: [spec.egress[1].to[0].domainNames]
	// group cluster:guard-subject
	// group cluster:guard-egress-0-0
	// section cluster:guard Environment 1010 applied to [cluster:guard-subject]
	//   guard metrics OUT ALLOW [cluster:guard-egress-0-0]
	//   guard nothing-else OUT DROP [0.0.0.0/0]
}

func ExampleCompileNamespaceBaseline() {
	for _, b := range []netpol.Baseline{netpol.AllowCluster, netpol.AllowNamespace, netpol.AllowNamespaceStrict} {
		_, cluster, err := netpol.CompileBaseline(b, netpol.Config{})
		if err != nil {
			log.Fatal(err)
		}
		_, namespace, err := netpol.CompileNamespaceBaseline(b, "shop", netpol.Config{})
		if err != nil {
			log.Fatal(err)
		}
		for _, s := range append(cluster, namespace...) {
			fmt.Println(s.DisplayName)
			for _, r := range s.Rules {
				fmt.Println(" ", r.ID, r.Direction, r.Action, r.Sources, r.Destinations)
			}
		}
	}
	// Output:
	// baseline allow_cluster
	//   ingress IN ALLOW [baseline-pods] []
	//   egress OUT ALLOW [] [baseline-pods]
	// baseline:shop allow_namespace
	//   own-ingress IN ALLOW [baseline:shop-pods] []
	//   own-egress OUT ALLOW [] [baseline:shop-pods]
	//   other-ingress IN DROP [baseline-pods] []
	//   other-egress OUT DROP [] [baseline-pods]
	// baseline:shop allow_namespace_strict
	//   own-ingress IN ALLOW [baseline:shop-pods] []
	//   own-egress OUT ALLOW [] [baseline:shop-pods]
	//   other-ingress IN DROP [] []
	//   other-egress OUT DROP [] []
}
