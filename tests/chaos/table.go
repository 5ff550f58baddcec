package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// print prints the table and the differences.
func (w *world) print(to io.Writer) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, err := table.Write(w.table())
	return errors.Join(err, table.Flush(), w.printDifferences(to))
}

// table is the text of the table, with tabs between the columns.
func (w *world) table() []byte {
	t := new(bytes.Buffer)
	fmt.Fprintln(t, "kind\tcontainers\truns\texits compared\tby SIGKILL\tOOM\trestarts\tfailed starts\twithout events\twithout reports\tunknown exits\texecs\tlog lines\t")
	var all counts
	for _, kind := range slices.Sorted(maps.Keys(w.sums.kinds)) {
		k := w.sums.kinds[kind]
		k.row(t, kind)
		all.add(k)
	}
	all.row(t, "all")
	fmt.Fprintln(t, "\nkilled\ttimes\t")
	kills := map[string]int{}
	for _, k := range w.kills {
		kills[k.victim]++
	}
	for _, victim := range slices.Sorted(maps.Keys(kills)) {
		fmt.Fprintf(t, "%s\t%d\t\n", victim, kills[victim])
	}
	fmt.Fprintf(t, "all\t%d\t\n", len(w.kills))
	fmt.Fprintln(t, "\nconsumer\tstarted\tevents\ttwice\t")
	for _, c := range w.consumers {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t\n", c.name, c.started, c.read, c.again)
	}
	fmt.Fprintf(t, "journal\t\t%d\t\t\n", w.sums.events)
	fmt.Fprintf(t, "\nvolumes\t%d\t\n", w.sums.volumes)
	return t.Bytes()
}

func (w *world) printDifferences(to io.Writer) error {
	list, most := w.differences, 50
	text := fmt.Sprintf("\ndifferences: %d\n", len(list))
	for _, d := range list[:min(most, len(list))] {
		text += "- " + d + "\n"
	}
	_, err := io.WriteString(to, text)
	return err
}

func (k *counts) row(to *bytes.Buffer, name string) {
	fmt.Fprintf(to, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, k.containers, k.runs, k.compared,
		k.sigkilled, k.oom,
		k.restarts, k.failed, k.withoutEvents, k.withoutReport, k.unknown, k.execs, k.lines)
}

func (k *counts) add(o *counts) {
	k.containers, k.runs, k.compared, k.sigkilled, k.oom = k.containers+o.containers, k.runs+o.runs,
		k.compared+o.compared, k.sigkilled+o.sigkilled, k.oom+o.oom
	k.restarts, k.failed, k.withoutEvents, k.withoutReport = k.restarts+o.restarts, k.failed+o.failed,
		k.withoutEvents+o.withoutEvents, k.withoutReport+o.withoutReport
	k.unknown, k.execs, k.lines = k.unknown+o.unknown, k.execs+o.execs, k.lines+o.lines
}
