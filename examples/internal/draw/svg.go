package draw

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Sizes of the drawing, in pixels.
const (
	margin  = 32
	gap     = 16
	cardW   = 196
	cardH   = 62
	perRow  = 2 // pods side by side below a segment
	headerY = 84
	tier0H  = 64
	tier1H  = 52
	barH    = 40
	nodeW   = 156
	nodeH   = 44
	hostH   = 128
)

// palette returns the colour of the i-th node: strokes that are readable on white.
func palette(i int) string {
	return [...]string{"#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#db2777", "#4f46e5", "#a16207"}[i%10]
}

type canvas struct{ bytes.Buffer }

func (c *canvas) rect(x, y, w, h, r int, fill, stroke string) {
	fmt.Fprintf(c, `<rect x="%d" y="%d" width="%d" height="%d" rx="%d" fill="%s" stroke="%s"/>`+"\n", x, y, w, h, r, fill, stroke)
}

func (c *canvas) line(x1, y1, x2, y2 int, stroke string) {
	fmt.Fprintf(c, `<path d="M%d %dL%d %d" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", x1, y1, x2, y2, stroke)
}

// elbow joins a box to one below it, by way of the height mid.
func (c *canvas) elbow(x1, y1, mid, x2, y2 int) {
	fmt.Fprintf(c, `<path d="M%d %dV%dH%dV%d" fill="none" stroke="#94a3b8" stroke-width="1.5" stroke-linejoin="round"/>`+"\n", x1, y1, mid, x2, y2)
}

// text writes s in a class, cut to what fits w pixels; the whole is its title.
func (c *canvas) text(x, y, w int, class, s string) {
	width := 8.2 // of a character of the widest font in the list
	switch {
	case class == "t":
		width = 13
	case strings.HasPrefix(class, "s"):
		width = 6.5
	}
	cut := s
	if n := int(float64(w) / width); utf8.RuneCountInString(s) > n && n > 1 {
		cut = string([]rune(s)[:n-1]) + "…"
	}
	fmt.Fprintf(c, `<text x="%d" y="%d" class="%s">`, x, y, class)
	if cut != s {
		c.WriteString("<title>" + escape(s) + "</title>")
	}
	c.WriteString(escape(cut) + "</text>\n")
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a Buffer takes every write
	return b.String()
}

func (s *segment) width() int {
	n := max(1, min(perRow, len(s.pods)))
	return max(n*cardW+(n-1)*gap, cardW+cardW/2)
}

func (s *segment) rows() int { return (len(s.pods) + perRow - 1) / perRow }

func (gw *gateway) width() int {
	w := -gap
	for _, s := range gw.segments {
		w += s.width() + gap
	}
	return max(w, cardW+cardW/2)
}

func (t *tier0) width() int {
	w := -2 * gap
	for _, gw := range t.gateways {
		w += gw.width() + 2*gap
	}
	return max(w, 340)
}

func (h *host) width() int { return 2*gap + max(1, len(h.nodes))*(nodeW+gap) - gap + 24 }

// SVG returns the drawing as a document of its own, without references.
func (g *Graph) SVG() []byte {
	logical, placed, rows := -3*gap, -gap, 0
	for _, t := range g.tier0s {
		logical += t.width() + 3*gap
		for _, gw := range t.gateways {
			for _, s := range gw.segments {
				rows = max(rows, s.rows())
			}
		}
	}
	for _, h := range g.hosts {
		placed += h.width() + gap
	}
	inner := max(logical, placed, 560)
	w := inner + 2*margin
	t1Y := headerY + 44 + tier0H + 48
	podY := t1Y + tier1H + 36 + barH + 20
	band := podY + rows*(cardH+12) + 28
	h := band + 44 + hostH + 84

	c := &canvas{}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", w, h, w, h)
	c.WriteString(`<title>Logical topology and placement</title>
<style>
text{font-family:Inter,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;font-size:12.5px;fill:#0f172a}
.t{font-size:20px;font-weight:700}.h{font-size:11px;font-weight:700;letter-spacing:1.2px;fill:#64748b}
.b{font-weight:600}.s{font-size:11px;fill:#475569}.m{text-anchor:middle}.w{fill:#fff}
</style>
`)
	c.rect(0, 0, w, h, 0, "#f8fafc", "none")
	c.text(margin, 44, inner, "t", "Logical topology")
	g.legend(c, margin, 66, inner)

	x := margin + (inner-logical)/2
	for _, t := range g.tier0s {
		t.draw(c, x, t1Y, podY)
		x += t.width() + 3*gap
	}
	g.placement(c, band, w, inner, placed)
	c.WriteString("</svg>\n")
	return c.Bytes()
}

// legend says what there is and what the colours mean.
func (g *Graph) legend(c *canvas, x, y, w int) {
	gateways, pods, hosts := 0, 0, 0
	for _, t := range g.tier0s {
		for _, gw := range t.gateways {
			if gw.id != "" {
				gateways++
			}
			for _, s := range gw.segments {
				pods += len(s.pods)
			}
		}
	}
	for _, h := range g.hosts {
		if h.id != "" {
			hosts++
		}
	}
	c.text(x, y, w, "s", fmt.Sprintf("%s · %s · %s · %s. A pod has the colour of its node.",
		count(gateways, "tier-1 gateway"), count(pods, "pod"), count(len(g.nodes), "node"), count(hosts, "host")))
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (t *tier0) draw(c *canvas, x, t1Y, podY int) {
	mid, top := x+t.width()/2, headerY+44
	if t.id != "" {
		c.text(mid, headerY+14, 300, "s m", "outside")
		c.line(mid, headerY+20, mid, top, "#94a3b8")
		c.rect(mid-170, top, 340, tier0H, 12, "#1e293b", "#1e293b")
		c.text(mid, top+22, 320, "b m w", "Tier-0 "+t.name)
		edge := "no edge"
		if t.edge != nil {
			edge = "on edge " + t.edge.name
		}
		c.text(mid, top+39, 320, "s m w", edge)
		if len(t.vips) > 0 {
			c.text(mid, top+55, 320, "s m w", "load balancer "+strings.Join(t.vips, ", "))
		}
	} else {
		c.text(mid, top+tier0H/2, 300, "s m", t.name)
	}
	for _, gw := range t.gateways {
		gmid := x + gw.width()/2
		if gw.id != "" {
			if t.id != "" {
				c.elbow(mid, top+tier0H, t1Y-24, gmid, t1Y)
			}
			c.rect(gmid-100, t1Y, 200, tier1H, 26, "#e0e7ff", "#6366f1")
			c.text(gmid, t1Y+22, 180, "b m", gw.name)
			c.text(gmid, t1Y+39, 180, "s m", "Tier-1 · "+gw.egress(t))
		}
		barY, sx := podY-20-barH, x+(gw.width()-gw.contents())/2
		for _, s := range gw.segments {
			smid := sx + s.width()/2
			switch {
			case gw.id != "":
				c.elbow(gmid, t1Y+tier1H, barY-18, smid, barY)
			case t.id != "":
				c.elbow(mid, top+tier0H, t1Y-24, smid, barY)
			}
			s.draw(c, sx, barY, podY)
			sx += s.width() + gap
		}
		x += gw.width() + 2*gap
	}
}

// contents is the width of the segments alone.
func (gw *gateway) contents() int {
	w := -gap
	for _, s := range gw.segments {
		w += s.width() + gap
	}
	return max(w, 0)
}

func (s *segment) draw(c *canvas, x, barY, podY int) {
	c.rect(x, barY, s.width(), barH, 6, "#ccfbf1", "#0d9488")
	c.text(x+s.width()/2, barY+17, s.width()-12, "b m", s.name)
	c.text(x+s.width()/2, barY+32, s.width()-12, "s m", strings.TrimPrefix(s.subnetText()+" · ", " · ")+fmt.Sprintf("VNI %d", s.vni))
	cols := max(1, min(perRow, len(s.pods)))
	left := x + (s.width()-cols*cardW-(cols-1)*gap)/2
	for i, p := range s.pods {
		px, py := left+i%perRow*(cardW+gap), podY+i/perRow*(cardH+12)
		if i < perRow {
			c.line(px+cardW/2, barY+barH, px+cardW/2, py, "#94a3b8")
		} else {
			c.line(px+cardW/2, py-12, px+cardW/2, py, "#94a3b8")
		}
		color, where := "#94a3b8", "not placed"
		if p.node != nil {
			color, where = palette(p.node.color), p.node.name
			if p.node.host.id != "" && p.node.host.name != where {
				where += " on " + p.node.host.name
			}
		}
		c.rect(px, py, cardW, cardH, 8, "#ffffff", "#cbd5e1")
		c.rect(px, py+6, 5, cardH-12, 2, color, "none")
		c.text(px+14, py+19, cardW-20, "b", p.name)
		addr := p.ip
		if v := p.vlanText(); v != "" {
			addr = strings.TrimPrefix(addr+" · ", " · ") + v
		}
		c.text(px+14, py+36, cardW-20, "s", addr)
		fmt.Fprintf(c, `<circle cx="%d" cy="%d" r="4" fill="%s"/>`+"\n", px+18, py+49, color)
		c.text(px+27, py+53, cardW-33, "s", where)
	}
}

// placement draws hosts, the nodes in them, and the underlay that joins them.
func (g *Graph) placement(c *canvas, y, w, inner, placed int) {
	c.rect(0, y, w, 44+hostH+84, 0, "#eef2f7", "none")
	c.text(margin, y+26, inner, "h", "PLACEMENT")
	x, top := margin+(inner-placed)/2, y+44
	under := top + hostH + 34
	for _, h := range g.hosts {
		stroke := "#94a3b8"
		if h.edge {
			stroke = "#1e293b"
		}
		c.rect(x, top, h.width(), hostH, 10, "#ffffff", stroke)
		c.text(x+gap, top+24, h.width()-2*gap, "b", h.title())
		c.text(x+gap, top+41, h.width()-2*gap, "s", h.tepText())
		if len(h.nodes) == 0 {
			c.text(x+gap, top+82, h.width()-2*gap, "s", h.emptyText())
		}
		for i, n := range h.nodes {
			nx, ny := x+gap+12+i*(nodeW+gap), top+hostH-nodeH-22
			c.rect(nx, ny, nodeW, nodeH, 8, "#f8fafc", palette(n.color))
			fmt.Fprintf(c, `<circle cx="%d" cy="%d" r="5" fill="%s"/>`+"\n", nx+15, ny+16, palette(n.color))
			c.text(nx+26, ny+20, nodeW-32, "b", n.name)
			c.text(nx+26, ny+36, nodeW-32, "s", count(n.pods, "pod"))
		}
		if h.id != "" {
			mid := x + h.width()/2
			c.line(mid, top+hostH, mid, under, "#475569")
			fmt.Fprintf(c, `<circle cx="%d" cy="%d" r="4" fill="#475569"/>`+"\n", mid, under)
		}
		x += h.width() + gap
	}
	fmt.Fprintf(c, `<path d="M%d %dH%d" stroke="#475569" stroke-width="3" stroke-linecap="round"/>`+"\n", margin, under, w-margin)
	c.text(w/2, under+22, inner, "s m", "underlay · Geneve between tunnel end points")
}
