package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// A reason says why something differs on purpose.
type reason struct {
	pattern, why string
	used         int
}

type reasons []*reason

// readReasons reads lines "PATTERN: WHY". The pattern is one of path.Match for the key of an
// answer, in which / is a character as any other, * stands for any text and ? for one
// character. A line that begins with # is a comment.
func readReasons(file string) (reasons, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all reasons
	for n, line := range strings.Split(string(data), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		pattern, why, ok := strings.Cut(line, ": ")
		if !ok || strings.TrimSpace(why) == "" {
			return nil, fmt.Errorf("%s, line %d: want a pattern, a colon and a reason", file, n+1)
		}
		all = append(all, &reason{pattern: pattern, why: strings.TrimSpace(why)})
		if _, err := path.Match(all[len(all)-1].glob(), ""); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, n+1, err)
		}
	}
	return all, nil
}

// glob is the pattern for path.Match, to which a slash is special.
func (r *reason) glob() string { return escape(r.pattern) }

func escape(text string) string { return strings.ReplaceAll(text, "/", "\x00") }

func (all reasons) find(key string) *reason {
	for _, r := range all {
		if ok, _ := path.Match(r.glob(), escape(key)); ok { // the pattern was checked
			return r
		}
	}
	return nil
}

// stale fails if there are reasons for what does not differ.
func (all reasons) stale() error {
	var errs []error
	for _, r := range all {
		if r.used == 0 {
			errs = append(errs, fmt.Errorf("differences.txt: nothing differs that matches %q", r.pattern))
		}
	}
	return errors.Join(errs...)
}

// A difference is a piece of an answer.
type difference struct {
	key, ours, theirs string
}

type report struct {
	cases       []testCase
	pieces      int
	reasons     reasons
	unexplained []difference
}

const absent = "(none)"

func compare(cases []testCase, ours, theirs answers, why reasons) *report {
	keys := maps.Clone(ours)
	maps.Copy(keys, theirs)
	r := &report{cases: cases, pieces: len(keys), reasons: why}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		a, ok := ours[key]
		if !ok {
			a = absent
		}
		b, ok := theirs[key]
		if !ok {
			b = absent
		}
		if a == b {
			continue
		}
		if known := why.find(key); known != nil {
			known.used++
		} else {
			r.unexplained = append(r.unexplained, difference{key, a, b})
		}
	}
	return r
}

func (r *report) steps() int {
	n := 0
	for _, c := range r.cases {
		n += len(c.steps)
	}
	return n
}

func (r *report) explained() int {
	n := 0
	for _, known := range r.reasons {
		n += known.used
	}
	return n
}

// text is what differs without a reason, and the sum.
func (r *report) text(verbose bool) string {
	var w strings.Builder
	for _, d := range r.unexplained {
		fmt.Fprintf(&w, "%s\n    engine-lite %s\n    dockerd     %s\n", d.key, d.ours, d.theirs)
	}
	fmt.Fprintln(&w, r.sum())
	if verbose {
		for _, known := range r.reasons {
			fmt.Fprintf(&w, "%6d %s: %s\n", known.used, known.pattern, known.why)
		}
	}
	return w.String()
}

func (r *report) sum() string {
	return fmt.Sprintf("%d cases, %d steps, %d values: %d differ on purpose, %d without a reason",
		len(r.cases), r.steps(), r.pieces, r.explained(), len(r.unexplained))
}

// write writes the page of the docs.
func (r *report) write(file string) error {
	var b strings.Builder
	b.WriteString(`# Beside dockerd

"hack/parity" sends the same command lines and requests to engine-lite and to the newest dockerd, and compares the
answers: output, exit code, status, error text, each field of JSON, and the events that came of it. The cases are in
tests/parity/cases. "hack/parity --write-docs" writes this page.

`)
	b.WriteString(r.sum() + ".\n\n## What differs on purpose\n\n| values | where | why |\n|---|---|---|\n")
	for _, known := range r.reasons {
		fmt.Fprintf(&b, "| %d | `%s` | %s |\n", known.used, known.pattern, known.why)
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
