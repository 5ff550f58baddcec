package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the result of a run, as --json writes it.
type report struct {
	Date       time.Time         `json:"date"` // of the beginning
	Took       string            `json:"took"`
	Commit     string            `json:"commit"`
	Short      bool              `json:"short,omitempty"`
	Rounds     int               `json:"rounds"`
	Machine    machine           `json:"machine"`
	Versions   map[string]string `json:"versions"` // by target
	Series     []*series         `json:"series"`
	Growth     []grown           `json:"growth,omitempty"`
	Deliveries []delivery        `json:"told,omitempty"`
	Histories  []history         `json:"histories,omitempty"`
	NotRun     []notRun          `json:"notRun,omitempty"`
}

// series are the figures of a row and a target.
type series struct {
	Row     string          `json:"row"`
	Target  string          `json:"target"`
	Runtime string          `json:"runtime,omitempty"` // the OCI runtime
	Unit    string          `json:"unit"`
	Samples map[int]float64 `json:"samples"` // by round
	Median  float64         `json:"median"`
	P95     float64         `json:"p95"`             // of what is better when less; else the 5th percentile
	Ratio   float64         `json:"ratio,omitempty"` // to the bare runtime, the median of the rounds' ratios
}

func newReport(ctx context.Context, o *options) *report {
	return &report{
		Date: time.Now().UTC().Truncate(time.Second), Commit: commitOf(ctx, o.work), Short: o.short, Rounds: o.rounds,
		Machine: thisMachine(ctx), Versions: map[string]string{},
	}
}

// add adds the figures of a target in a round.
func (r *report) add(target, runtime string, round int, f figures) {
	for name, v := range f {
		s := r.series(name, target)
		if s == nil {
			s = &series{Row: name, Target: target, Runtime: runtime, Unit: rowNamed(name).unit,
				Samples: map[int]float64{}}
			r.Series = append(r.Series, s)
		}
		s.Samples[round] = v
	}
}

// series returns the figures of a row and a target; nil for none.
func (r *report) series(row, target string) *series {
	i := slices.IndexFunc(r.Series, func(s *series) bool { return s.Row == row && s.Target == target })
	if i < 0 {
		return nil
	}
	return r.Series[i]
}

// finish records the end of the run.
func (r *report) finish(ctx context.Context) {
	r.Took = time.Since(r.Date).Round(time.Second).String()
	r.Machine.BusyAfter = othersLoad(context.WithoutCancel(ctx)) // also after an interrupt
	r.evaluate()
}

// evaluate computes the medians and ratios of the samples.
func (r *report) evaluate() {
	for _, s := range r.Series {
		var all []float64
		for _, v := range s.Samples {
			all = append(all, v)
		}
		s.Median, s.P95 = median(all), quantile(all, 0.95)
		if rowNamed(s.Row).more {
			s.P95 = quantile(all, 0.05)
		}
		name := rowNamed(s.Row).baseOf(s.Runtime)
		if base := r.series(s.Row, name); base != nil && s.Target != name {
			s.Ratio = ratio(s.Samples, base.Samples)
		}
	}
}

// goalResultOf compares a figure of engine-lite with the goal. Other targets have no goal.
func (r *report) goalResultOf(s *series) goalResult {
	if !strings.HasPrefix(s.Target, "engine-lite") {
		return noGoal
	}
	var commit, docker float64
	if c := r.series("commit", commitTarget); c != nil {
		commit = c.Median
	}
	for _, target := range []string{"docker-20.10", "docker-newest"} {
		if d := r.series(s.Row, target); d != nil {
			if docker == 0 || rowNamed(s.Row).more == (d.Median > docker) {
				docker = d.Median // the better one
			}
		}
	}
	return rowNamed(s.Row).compareWithGoal(s.Median, s.Ratio, s.Runtime, commit, docker)
}

// provisional is true if others used so much of the machine that the figures can't be
// compared with those of another run.
func (r *report) provisional() bool {
	return r.busy() > 0.1
}

// busy is the part of the processors' time that others took, before the run or after it.
func (r *report) busy() float64 { return max(r.Machine.BusyBefore, r.Machine.BusyAfter) }

// print writes the table, medians with the ratios to the bare runtime, and what is missing.
func (r *report) print(out io.Writer) error {
	w := &bytes.Buffer{}
	for _, row := range rows {
		line := r.line(row.name)
		if len(line) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s, %s\t\t\t\t%s\n", row.title, row.unit, row.goal)
		for _, s := range line {
			bad := "p95"
			if row.more {
				bad = "p5"
			}
			fmt.Fprintf(w, "  %s\t%s\t%s %s\t%s\t%s\n", s.Target, row.format(s.Median), bad, row.format(s.P95),
				ratioText(s), r.goalResultOf(s))
		}
	}
	r.printGrowth(w)
	fmt.Fprintf(w, "\n%s\n", r.circumstances())
	for _, n := range r.NotRun {
		fmt.Fprintf(w, "not run: %s\n", n)
	}
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, err := w.WriteTo(columns)
	return errors.Join(err, columns.Flush())
}

func sortByTarget(line []*series) {
	order := targetNames()
	slices.SortStableFunc(line,
		func(a, b *series) int { return slices.Index(order, a.Target) - slices.Index(order, b.Target) })
}

func ratioText(s *series) string {
	if s.Ratio == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f × %s", s.Ratio, rowNamed(s.Row).baseOf(s.Runtime))
}

func (v goalResult) String() string {
	return [...]string{noGoal: "", reached: "reached", missed: "missed"}[v]
}

// circumstances says where and how the figures were measured.
func (r *report) circumstances() string {
	text := fmt.Sprintf("%s, commit %s, %d rounds, %s; %s", r.Date.Format(time.DateTime+" MST"), r.Commit, r.Rounds,
		r.Took, r.Machine)
	if r.provisional() {
		text += fmt.Sprintf("; provisional: other work took %.0f %% of the processors' time", 100*r.busy())
	}
	return text
}

func (r *report) writeJSON(path string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func readReport(path string) (*report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &report{}
	return r, json.Unmarshal(data, r)
}
