package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// picture is a file with bars for some rows.
type picture struct {
	file, title string
	rows        []string
}

var pictures = []picture{
	{"bench-latency.svg", "Latency, milliseconds: shorter is better", []string{"run", "start", "exec", "die", "wait"}},
	{"bench-throughput.svg", "Throughput: longer is better", []string{"stdout", "logs", "stdin", "many", "remove"}},
	{"bench-memory.svg", "Memory, MB: shorter is better", []string{"memory", "memory-each"}},
}

// Sizes in a picture's units, which are pixels without scaling.
const (
	panelWidth = 460
	nameWidth  = 190
	barWidth   = 200 // of the longest bar
	lineHeight = 18
	margin     = 16
)

// draw writes the pictures that have figures.
func (r *report) draw(dir string) error {
	for _, p := range pictures {
		data := p.draw(r)
		if data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// draw returns an SVG file with two columns of panels; nil without figures.
func (p picture) draw(r *report) []byte {
	var panels bytes.Buffer
	var height [2]int // of both columns
	for _, name := range p.rows {
		bars := r.line(name)
		if len(bars) == 0 {
			continue
		}
		column := 0
		if height[1] < height[0] {
			column = 1
		}
		x, y := margin+column*panelWidth, margin+2*lineHeight+height[column]
		height[column] += panel(&panels, x, y, rowNamed(name), bars)
	}
	if panels.Len() == 0 {
		return nil
	}
	w, h := 2*panelWidth+margin, max(height[0], height[1])+3*margin+lineHeight
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", w, h)
	words(&b, margin, margin+lineHeight/2, `font-size="15" font-weight="bold"`, p.title)
	b.Write(panels.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// line returns the figures of a row, in the order of the targets.
func (r *report) line(row string) []*series {
	var line []*series
	for _, s := range r.Series {
		if s.Row == row {
			line = append(line, s)
		}
	}
	sortByTarget(line)
	return line
}

// panel draws a row's bars with their values, and a thin line to the 95th percentile; it returns its height.
func panel(b *bytes.Buffer, x, y int, row row, bars []*series) int {
	longest := 0.0
	for _, s := range bars {
		longest = max(longest, s.Median)
	}
	scale := barWidth / max(longest, 1e-9)
	words(b, x, y+lineHeight, `font-weight="bold"`, strings.ReplaceAll(row.title, "`", "")+", "+row.unit)
	for i, s := range bars {
		top := y + (i+1)*lineHeight + 8
		words(b, x, top+12, "", s.Target)
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x+nameWidth, top,
			max(s.Median*scale, 0.5), lineHeight-4, colour(s.Target))
		end := min(s.P95, 1.1*longest) * scale
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#333"/>`+"\n",
			float64(x+nameWidth)+s.Median*scale, float64(x+nameWidth)+end, top+lineHeight/2-2, top+lineHeight/2-2)
		words(b, x+nameWidth+int(max(s.Median*scale, end))+4, top+12, "", row.format(s.Median))
	}
	return (len(bars)+1)*lineHeight + 8 + margin
}

func words(b *bytes.Buffer, x, y int, attributes, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" %s>`, x, y, attributes)
	_ = xml.EscapeText(b, []byte(text)) // a buffer never fails
	b.WriteString("</text>\n")
}

func colour(target string) string {
	switch {
	case strings.HasPrefix(target, "engine-lite"):
		return "#2a7f62"
	case strings.HasPrefix(target, "docker"):
		return "#c8742b"
	default:
		return "#8a8f98"
	}
}
