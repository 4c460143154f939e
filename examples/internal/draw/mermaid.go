package draw

import (
	"fmt"
	"strings"
)

var mermaidText = strings.NewReplacer("#", "#35;", "&", "#amp;", "<", "#lt;", ">", "#gt;", `"`, "#quot;", "`", "#96;", "\n", " ", "\r", " ")

// Mermaid returns the drawing as a Mermaid flowchart.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart TB\n")
	nodes, seq := map[*node]string{}, 0
	id := func(prefix string) string { seq++; return fmt.Sprintf("%s%d", prefix, seq) }
	label := func(lines ...string) string {
		var out []string
		for _, l := range lines {
			if l != "" {
				out = append(out, mermaidText.Replace(l))
			}
		}
		return `"` + strings.Join(out, "<br/>") + `"`
	}
	type link struct{ pod, node string }
	var links []link
	for _, n := range g.nodes {
		nodes[n] = id("node")
	}
	for _, t := range g.tier0s {
		t0 := ""
		if t.id != "" {
			t0 = id("t0_")
			edge := ""
			if t.edge != nil {
				edge = "edge " + t.edge.name
			}
			vips := ""
			if len(t.vips) > 0 {
				vips = "LB " + strings.Join(t.vips, ", ")
			}
			fmt.Fprintf(&b, "  %s{{%s}}\n", t0, label("Tier-0 "+t.name, edge, vips))
		}
		for _, gw := range t.gateways {
			above := t0
			if gw.id != "" {
				above = id("t1_")
				fmt.Fprintf(&b, "  %s([%s])\n", above, label("Tier-1 "+gw.name, gw.egress(t)))
				if t0 != "" {
					fmt.Fprintf(&b, "  %s --- %s\n", t0, above)
				}
			}
			for _, s := range gw.segments {
				seg := id("seg")
				fmt.Fprintf(&b, "  %s[%s]\n", seg, label(s.name, s.subnetText(), fmt.Sprintf("VNI %d", s.vni)))
				if above != "" {
					fmt.Fprintf(&b, "  %s --- %s\n", above, seg)
				}
				for _, p := range s.pods {
					pid := id("pod")
					fmt.Fprintf(&b, "  %s(%s)\n  %s --- %s\n", pid, label(p.name, p.ip, p.vlanText()), seg, pid)
					if p.node != nil {
						links = append(links, link{pid, nodes[p.node]})
					}
				}
			}
		}
	}
	for _, h := range g.hosts {
		fmt.Fprintf(&b, "  subgraph %s[%s]\n", id("host"), label(h.title(), h.tepText()))
		if len(h.nodes) == 0 {
			fmt.Fprintf(&b, "    %s[%s]\n", id("empty"), label(h.emptyText()))
		}
		for _, n := range h.nodes {
			fmt.Fprintf(&b, "    %s[%s]\n", nodes[n], label(n.name))
		}
		b.WriteString("  end\n")
	}
	for _, l := range links {
		fmt.Fprintf(&b, "  %s -.-> %s\n", l.pod, l.node)
	}
	return b.String()
}

func (gw *gateway) egress(t *tier0) string {
	switch {
	case gw.snat != "":
		return "SNAT " + gw.snat
	case t.id == "":
		return "isolated"
	}
	return "routed"
}

func (s *segment) subnetText() string {
	var out []string
	for _, p := range s.subnets {
		out = append(out, p.Masked().String())
	}
	return strings.Join(out, ", ")
}

func (p *pod) vlanText() string {
	if p.vlan == 0 {
		return ""
	}
	return fmt.Sprintf("VLAN %d", p.vlan)
}

func (h *host) title() string {
	switch {
	case h.id == "":
		return h.name
	case h.edge:
		return "Edge " + h.name
	}
	return "Host " + h.name
}

func (h *host) tepText() string {
	if h.tep == "" {
		return ""
	}
	return "TEP " + h.tep
}

func (h *host) emptyText() string {
	if h.edge {
		return "north-south gateway"
	}
	return "no nodes"
}
