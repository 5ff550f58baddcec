package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// The bench writes between these lines of docs/performance.md.
const (
	beginMark = "<!-- hack/bench --write-docs writes what follows -->"
	endMark   = "<!-- hack/bench --write-docs wrote what precedes -->"
)

// writeDocs puts the tables between the marks of a file.
func (r *report) writeDocs(path string) error { return writeBetween(path, r.markdown()) }

func writeBetween(path, fresh string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	out, err := between(string(data), fresh)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(out), 0o644)
}

func between(text, fresh string) (string, error) {
	head, rest, begins := strings.Cut(text, beginMark+"\n")
	_, tail, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return "", fmt.Errorf("there are no lines %q and %q", beginMark, endMark)
	}
	return head + beginMark + "\n\n" + fresh + "\n" + endMark + tail, nil
}

// markdown is the tables, with where and how they were measured and what is missing.
func (r *report) markdown() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s.\n", r.circumstances())
	if r.provisional() {
		b.WriteString("\n**Provisional**: other work used the machine meanwhile. Read ratios, not milliseconds.\n")
	}
	columns := r.columns()
	if len(columns) > 0 {
		b.WriteString("\nMedians; in brackets the ratio to the bare runtime, the median over the rounds; bold is what misses its goal.\n\n| |")
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", c)
		}
		b.WriteString(" goal |\n|---|" + strings.Repeat("---|", len(columns)+1) + "\n")
		for _, row := range rows {
			r.markdownRow(&b, row, columns)
		}
	}
	if c := r.series("commit", commitTarget); c != nil {
		fmt.Fprintf(&b, "\nA commit of the journal on this disk: median %.2f ms, p95 %.2f ms.\n", c.Median, c.P95)
	}
	r.markdownGrowth(&b)
	r.markdownRest(&b)
	return b.String()
}

// columns are the targets with figures: engine-lite, docker, the bare runtimes.
func (r *report) columns() []string {
	var names []string
	all := targetNames()
	for _, name := range append(all[2:], all[:2]...) {
		if slices.ContainsFunc(r.Series, func(s *series) bool { return s.Target == name }) {
			names = append(names, name)
		}
	}
	return names
}

func (r *report) markdownRow(b *bytes.Buffer, row row, columns []string) {
	if row.name == "commit" || len(r.line(row.name)) == 0 {
		return
	}
	fmt.Fprintf(b, "| %s, %s |", row.title, row.unit)
	for _, column := range columns {
		fmt.Fprintf(b, " %s |", r.cell(row, column))
	}
	fmt.Fprintf(b, " %s |\n", row.goal)
}

func (r *report) cell(row row, target string) string {
	s := r.series(row.name, target)
	if s == nil {
		return ""
	}
	text := row.format(s.Median)
	if r.goalResultOf(s) == missed {
		text = "**" + text + "**"
	}
	if s.Ratio > 0 {
		text += fmt.Sprintf(" (%.2f)", s.Ratio)
	}
	return text
}

func (r *report) markdownRest(b *bytes.Buffer) {
	b.WriteString("\nVersions:")
	for i, name := range targetNames() {
		if v := r.Versions[name]; v != "" && (i < 2 || strings.HasPrefix(name, "docker")) {
			fmt.Fprintf(b, " %s %s;", name, v)
		}
	}
	fmt.Fprintf(b, " engine-lite %s.\n", r.Commit)
	if len(r.NotRun) > 0 {
		b.WriteString("\nCould not be measured:\n\n")
	}
	for _, n := range r.NotRun {
		fmt.Fprintf(b, "* %s\n", strings.ReplaceAll(n.String(), "\n", " "))
	}
}
