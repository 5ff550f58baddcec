package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// The goals of an engine with many containers.
const (
	growMany     = 1000 // containers
	growFew      = 10
	restartLimit = 1000.0 // ms, with many
	startFactor  = 1.3    // of one more start, with many to with few
)

const growGoal = "Goals with 1,000: a restart ≤ 1 s, one more start ≤ 1.3 × that with 10."

// restartMissed is true if the restart of an engine with many containers took too long.
func (g grown) restartMissed() bool { return g.Containers == growMany && g.Restart > restartLimit }

// startRatio is how much longer one more start takes with many containers than with few; 0
// if it is unknown.
func (r *report) startRatio(g grown) float64 {
	i := slices.IndexFunc(r.Growth, func(g grown) bool { return g.Containers == growFew })
	if i < 0 || g.Containers != growMany || r.Growth[i].Start == 0 {
		return 0
	}
	return g.Start / r.Growth[i].Start
}

func (r *report) startMissed(g grown) bool { return r.startRatio(g) > startFactor }

// grid is a table of text.
type grid [][]string

func (r *report) growth(bold func(text string, missed bool) string) grid {
	if len(r.Growth) == 0 {
		return nil
	}
	g := grid{{"containers", "one more start, ms", "list, ms", "restart, ms", "memory, MB", "descriptors", "threads",
		"processes", "the engine's goroutines"}}
	for _, n := range r.Growth {
		start := bold(fmt.Sprintf("%.1f", n.Start), r.startMissed(n))
		if ratio := r.startRatio(n); ratio > 0 {
			start += fmt.Sprintf(" (%.2f × that with %d)", ratio, growFew)
		}
		g = append(g, []string{
			fmt.Sprint(n.Containers), start, fmt.Sprintf("%.2f", n.List),
			bold(fmt.Sprintf("%.0f", n.Restart), n.restartMissed()),
			fmt.Sprintf("%.1f", n.Memory), fmt.Sprint(n.Descriptors), fmt.Sprint(n.Threads), fmt.Sprint(n.Processes),
			fmt.Sprint(n.Goroutines),
		})
	}
	return g
}

func (r *report) subscribersTable() grid {
	if len(r.Deliveries) == 0 {
		return nil
	}
	g := grid{{"subscribers", "the first has an event after, ms", "all have it after, ms"}}
	for _, t := range r.Deliveries {
		g = append(g, []string{fmt.Sprint(t.Subscribers), fmt.Sprintf("%.2f", t.First), fmt.Sprintf("%.2f", t.Last)})
	}
	return g
}

func (r *report) historyTable() grid {
	if len(r.Histories) == 0 {
		return nil
	}
	g := grid{{
		"events in the journal", "ready, ms", "append, ms", "from the start: first event, ms", "all events, s",
		"since the middle: first event, ms",
		"journal, MB", "memory, MB",
	}}
	for _, h := range r.Histories {
		g = append(g, []string{
			fmt.Sprint(h.Events), h.Ready.String(), h.Append.String(), h.First.String(), fmt.Sprintf("%.3f", h.All),
			h.Since.String(),
			fmt.Sprintf("%.1f", h.File), fmt.Sprintf("%.1f", h.Memory),
		})
	}
	return g
}

const pastText = "%s, with so many events in its journal; medians, and in brackets the 95th percentile. Ready is from the launch until it has listed its " +
	"containers; append is a rename, one commit with one event. No goals."

func (r *report) printGrowth(w *bytes.Buffer) {
	g := r.growth(func(text string, missed bool) string {
		if missed {
			text += " missed"
		}
		return text
	})
	for _, t := range []struct {
		title string
		grid  grid
	}{{growTarget + ". " + growGoal, g}, {growTarget, r.subscribersTable()},
		{fmt.Sprintf(pastText, growTarget), r.historyTable()}} {
		if t.grid != nil {
			fmt.Fprintf(w, "\n%s\n", t.title)
		}
		for _, line := range t.grid {
			fmt.Fprintf(w, "  %s\n", strings.Join(line, "\t"))
		}
	}
}

func (r *report) markdownGrowth(b *bytes.Buffer) {
	g := r.growth(func(text string, missed bool) string {
		if missed {
			text = "**" + text + "**"
		}
		return text
	})
	if g != nil {
		fmt.Fprintf(b, "\n%s, with so many running containers. Restart is from the launch of the next engine until it has listed them all. %s\n\n", growTarget, growGoal)
	}
	g.markdown(b)
	if a := r.subscribersTable(); a != nil {
		b.WriteString("\n")
		a.markdown(b)
	}
	if p := r.historyTable(); p != nil {
		fmt.Fprintf(b, "\n"+pastText+"\n\n", growTarget)
		p.markdown(b)
	}
}

func (g grid) markdown(b *bytes.Buffer) {
	for i, line := range g {
		fmt.Fprintf(b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(line)) + "\n")
		}
	}
}
