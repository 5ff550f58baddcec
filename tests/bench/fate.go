package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// fate is what became of a flock.
type fate struct {
	States     int     `json:"states"`     // right, of all
	Alive      int     `json:"alive"`      // of those that should be
	Codes      int     `json:"codes"`      // right, of those that ended meanwhile
	Deaths     int     `json:"deaths"`     // die events of those, there exactly once
	DeathCodes int     `json:"deathCodes"` // right codes in them
	Later      int     `json:"later"`      // right codes of those that ended afterwards
	Missing    int     `json:"missing"`    // bytes of logs
	Repeated   int     `json:"repeated"`   // bytes of logs
	Strange    int     `json:"strange"`    // bytes of logs that nobody wrote so
	Listed     float64 `json:"listed"`     // ms from the start of the program to the first list
	Right      float64 `json:"right"`      // ms to a list without an error in it; 0 for never
}

// judge tells what a daemon that must not lose anything has lost.
func (f fate) judge(v victim) error {
	var errs []error
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"right states", f.States, flockSize}, {"containers alive", f.Alive, flockSize - leavers},
		{"right exit codes", f.Codes, leavers}, {"die events", f.Deaths, leavers}, {"right codes in them", f.DeathCodes, leavers},
		{"right exit codes afterwards", f.Later, flockSize - leavers},
		{"bytes of logs missing", f.Missing, 0}, {"bytes of logs repeated", f.Repeated, 0}, {"strange bytes in logs", f.Strange, 0},
	} {
		if c.got != c.want {
			errs = append(errs, fmt.Errorf("%s, %s killed: %s: %d, not %d", v.name, v.killed, c.what, c.got, c.want))
		}
	}
	return errors.Join(errs...)
}

// ordeal is what the survey found out.
type ordeal struct {
	*report
	Fates []*fates `json:"fates"`
}

// fates are those of one victim, a round each.
type fates struct {
	Name   string `json:"name"`
	Killed string `json:"killed"`
	Rounds []fate `json:"rounds"`
}

func (o *ordeal) add(v victim, f fate) {
	for _, all := range o.Fates {
		if all.Name == v.name && all.Killed == v.killed {
			all.Rounds = append(all.Rounds, f)
			return
		}
	}
	o.Fates = append(o.Fates, &fates{v.name, v.killed, []fate{f}})
}

// span is the least and the most of a figure, as "5" or "3 to 5".
func (f *fates) span(of func(fate) int) string {
	least, most := of(f.Rounds[0]), of(f.Rounds[0])
	for _, r := range f.Rounds {
		least, most = min(least, of(r)), max(most, of(r))
	}
	if least == most {
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// time is the median of a time, in ms, or that it never came.
func (f *fates) time(of func(fate) float64) string {
	var all []float64
	for _, r := range f.Rounds {
		if of(r) == 0 {
			return fmt.Sprintf("not in %.0f s", statesWithin.Seconds())
		}
		all = append(all, of(r))
	}
	return fmt.Sprintf("%.0f", median(all))
}

var fateColumns = []string{"", "killed", "list answered, ms", "all states right, ms", "states right", "alive", "exit codes", "die events", "… with the right code", "exit codes later", "log bytes missing", "repeated"}

func (f *fates) cells() []string {
	return []string{
		f.Name, f.Killed,
		f.time(func(f fate) float64 { return f.Listed }),
		f.time(func(f fate) float64 { return f.Right }),
		f.span(func(f fate) int { return f.States }) + fmt.Sprintf(" of %d", flockSize),
		f.span(func(f fate) int { return f.Alive }) + fmt.Sprintf(" of %d", flockSize-leavers),
		f.span(func(f fate) int { return f.Codes }) + fmt.Sprintf(" of %d", leavers),
		f.span(func(f fate) int { return f.Deaths }) + fmt.Sprintf(" of %d", leavers),
		f.span(func(f fate) int { return f.DeathCodes }) + fmt.Sprintf(" of %d", leavers),
		f.span(func(f fate) int { return f.Later }) + fmt.Sprintf(" of %d", flockSize-leavers),
		f.span(func(f fate) int { return f.Missing }),
		f.span(func(f fate) int { return f.Repeated + f.Strange }),
	}
}

func (o *ordeal) print(out io.Writer) error {
	// Flush tells of errors.
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells []string) {
		for _, cell := range cells {
			_, _ = fmt.Fprintf(w, "%s\t", cell)
		}
		_, _ = fmt.Fprintln(w)
	}
	row(fateColumns)
	for _, f := range o.Fates {
		row(f.cells())
	}
	_, _ = fmt.Fprintf(w, "\n%s\n", o.circumstances())
	for _, n := range o.NotRun {
		_, _ = fmt.Fprintf(w, "not run: %s\n", n)
	}
	return w.Flush()
}

// markdown is the table of docs/reliability.md.
func (o *ordeal) markdown() string {
	var b bytes.Buffer
	row := func(cells []string) {
		for _, cell := range cells {
			fmt.Fprintf(&b, "| %s ", cell)
		}
		fmt.Fprintln(&b, "|")
	}
	row(fateColumns)
	for range fateColumns {
		fmt.Fprint(&b, "|---")
	}
	fmt.Fprintln(&b, "|")
	for _, f := range o.Fates {
		row(f.cells())
	}
	fmt.Fprintf(&b, "\n%s.\n", o.circumstances())
	for _, n := range o.NotRun {
		fmt.Fprintf(&b, "\nNot run: %s\n", n)
	}
	return b.String()
}

func (o *ordeal) writeJSON(path string) error {
	data, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
