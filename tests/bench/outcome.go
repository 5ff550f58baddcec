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

// outcome is what was found after one kill.
type outcome struct {
	States     int     `json:"states"`     // containers with the right state
	Alive      int     `json:"alive"`      // containers that still run
	Codes      int     `json:"codes"`      // right exit codes of the containers that ended meanwhile
	Deaths     int     `json:"deaths"`     // containers among these with exactly one die event
	DeathCodes int     `json:"deathCodes"` // right exit codes in these events
	Later      int     `json:"later"`      // right exit codes of the containers that ended afterwards
	Missing    int     `json:"missing"`    // bytes of logs
	Repeated   int     `json:"repeated"`   // bytes of logs
	Strange    int     `json:"strange"`    // bytes of logs that no container wrote
	Listed     float64 `json:"listed"`     // ms from the start of the program to the first list
	Right      float64 `json:"right"`      // ms until all states in the list were right; 0 for never
}

// check returns an error for all that a daemon has lost that must not lose anything.
func (f outcome) check(v victim) error {
	var errs []error
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"right states", f.States, countingSize}, {"containers alive", f.Alive, countingSize - endingEarly},
		{"right exit codes", f.Codes, endingEarly}, {"die events", f.Deaths, endingEarly},
		{"right codes in them", f.DeathCodes, endingEarly},
		{"right exit codes afterwards", f.Later, countingSize - endingEarly},
		{"bytes of logs missing", f.Missing, 0}, {"bytes of logs repeated", f.Repeated, 0},
		{"strange bytes in logs", f.Strange, 0},
	} {
		if c.got != c.want {
			errs = append(errs, fmt.Errorf("%s, %s killed: %s: %d, not %d", v.name, v.killed, c.what, c.got, c.want))
		}
	}
	return errors.Join(errs...)
}

// reliabilityReport is the result of all kills.
type reliabilityReport struct {
	*report
	Outcomes []*outcomes `json:"fates"`
}

// outcomes are the outcomes of one victim, one for each round.
type outcomes struct {
	Name   string    `json:"name"`
	Killed string    `json:"killed"`
	Rounds []outcome `json:"rounds"`
}

func (o *reliabilityReport) add(v victim, f outcome) {
	for _, all := range o.Outcomes {
		if all.Name == v.name && all.Killed == v.killed {
			all.Rounds = append(all.Rounds, f)
			return
		}
	}
	o.Outcomes = append(o.Outcomes, &outcomes{v.name, v.killed, []outcome{f}})
}

// span is the least and the greatest of a figure, as "5" or "3 to 5".
func (f *outcomes) span(of func(outcome) int) string {
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
func (f *outcomes) time(of func(outcome) float64) string {
	var all []float64
	for _, r := range f.Rounds {
		if of(r) == 0 {
			return fmt.Sprintf("not in %.0f s", statesWithin.Seconds())
		}
		all = append(all, of(r))
	}
	return fmt.Sprintf("%.0f", median(all))
}

var outcomeColumns = []string{"", "killed", "list answered, ms", "all states right, ms", "states right", "alive",
	"exit codes", "die events", "… with the right code", "exit codes later", "log bytes missing", "repeated"}

func (f *outcomes) cells() []string {
	return []string{
		f.Name, f.Killed,
		f.time(func(f outcome) float64 { return f.Listed }),
		f.time(func(f outcome) float64 { return f.Right }),
		f.span(func(f outcome) int { return f.States }) + fmt.Sprintf(" of %d", countingSize),
		f.span(func(f outcome) int { return f.Alive }) + fmt.Sprintf(" of %d", countingSize-endingEarly),
		f.span(func(f outcome) int { return f.Codes }) + fmt.Sprintf(" of %d", endingEarly),
		f.span(func(f outcome) int { return f.Deaths }) + fmt.Sprintf(" of %d", endingEarly),
		f.span(func(f outcome) int { return f.DeathCodes }) + fmt.Sprintf(" of %d", endingEarly),
		f.span(func(f outcome) int { return f.Later }) + fmt.Sprintf(" of %d", countingSize-endingEarly),
		f.span(func(f outcome) int { return f.Missing }),
		f.span(func(f outcome) int { return f.Repeated + f.Strange }),
	}
}

func (o *reliabilityReport) print(out io.Writer) error {
	// Flush returns the errors.
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells []string) {
		for _, cell := range cells {
			_, _ = fmt.Fprintf(w, "%s\t", cell)
		}
		_, _ = fmt.Fprintln(w)
	}
	row(outcomeColumns)
	for _, f := range o.Outcomes {
		row(f.cells())
	}
	_, _ = fmt.Fprintf(w, "\n%s\n", o.circumstances())
	for _, n := range o.NotRun {
		_, _ = fmt.Fprintf(w, "not run: %s\n", n)
	}
	return w.Flush()
}

// markdown is the table of docs/reliability.md.
func (o *reliabilityReport) markdown() string {
	var b bytes.Buffer
	row := func(cells []string) {
		for _, cell := range cells {
			fmt.Fprintf(&b, "| %s ", cell)
		}
		fmt.Fprintln(&b, "|")
	}
	row(outcomeColumns)
	for range outcomeColumns {
		fmt.Fprint(&b, "|---")
	}
	fmt.Fprintln(&b, "|")
	for _, f := range o.Outcomes {
		row(f.cells())
	}
	fmt.Fprintf(&b, "\n%s.\n", o.circumstances())
	for _, n := range o.NotRun {
		fmt.Fprintf(&b, "\nNot run: %s\n", n)
	}
	return b.String()
}

func (o *reliabilityReport) writeJSON(path string) error {
	data, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
