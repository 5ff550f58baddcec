package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/engine-lite/engine-lite/tests/peer"
)

// A row is one test: its results, and why it does not pass here if it passes on dockerd.
type row struct {
	suite, test string
	here, there result
	reason      string
	ranHere     bool // in this run
	before      result
}

// A table is all rows by suite and test.
type table map[string]*row

func key(suite, test string) string { return suite + " " + test }

// readTable reads the rows of docs/peer-suites.md. A file that does not exist has none.
func readTable(path string) (table, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return table{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseTable(string(data))
}

func parseTable(text string) (table, error) {
	t := table{}
	for n, line := range strings.Split(text, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) < 4 || !strings.HasPrefix(cells[1], "Test") {
			continue
		}
		r := &row{suite: cells[0], test: cells[1], here: result(cells[2]), there: result(cells[3])}
		if len(cells) > 4 {
			r.reason = cells[4]
		}
		for _, is := range []result{r.here, r.there} {
			if !slices.Contains([]result{pass, fail, skip, ""}, is) {
				return nil, fmt.Errorf("line %d: there is no result %q", n+1, is)
			}
		}
		r.before = r.here
		t[key(r.suite, r.test)] = r
	}
	return t, nil
}

// add takes the results of one run of a suite.
func (t table) add(suite, engine string, results map[string]result) {
	for test, is := range results {
		r := t[key(suite, test)]
		if r == nil {
			r = &row{suite: suite, test: test}
			t[key(suite, test)] = r
		}
		if engine == peer.EngineLite {
			r.here, r.ranHere = is, true
		} else {
			r.there = is
		}
	}
}

// passing is an expression for the tests of a suite that passed here when the table was written.
func (t table) passing(suite string) string {
	var names []string
	for _, r := range t.rows() {
		if r.suite == suite && r.here == pass {
			names = append(names, r.test)
		}
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

func (t table) rows() []*row {
	var all []*row
	for _, r := range t {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *row) int {
		return cmp.Or(cmp.Compare(slices.Index(suites, a.suite), slices.Index(suites, b.suite)), cmp.Compare(a.test, b.test))
	})
	return all
}

// compare fails if a test that passed here when the table was written does not pass now, and
// if one that passes on dockerd neither passes here nor has a reason. The news are those that pass
// now and did not before. ran are the suites that were run here.
func (t table) compare(ran []string) (news string, err error) {
	var w strings.Builder
	var errs []error
	for _, r := range t.rows() {
		switch {
		case !r.ranHere && r.before == pass && slices.Contains(ran, r.suite):
			errs = append(errs, fmt.Errorf("%s %s passed before, and was not run", r.suite, r.test))
		case r.ranHere && r.before == pass && r.here != pass:
			errs = append(errs, fmt.Errorf("%s %s: %s, and passed before", r.suite, r.test, r.here))
		case r.ranHere && r.before != pass && r.here == pass:
			fmt.Fprintf(&w, "%s %s passes now: hack/peer-suites --write-docs\n", r.suite, r.test)
		}
	}
	return w.String(), errors.Join(errors.Join(errs...), t.complete())
}

// complete fails if a test passes on dockerd and not here, without a reason.
func (t table) complete() error {
	var errs []error
	for _, r := range t.rows() {
		if r.there == pass && r.here != pass && r.reason == "" {
			errs = append(errs, fmt.Errorf("%s %s passes on dockerd, fails here, and has no reason", r.suite, r.test))
		}
	}
	return errors.Join(errs...)
}

func count(results map[string]result) string {
	n := map[result]int{}
	for _, is := range results {
		n[is]++
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped, of %d", n[pass], n[fail], n[skip], len(results))
}

const introduction = `# moby's integration suites

The tests that moby wrote for dockerd, run against engine-lite and against the newest dockerd on the same machine.
"hack/peer-suites --write-docs" writes this file. It keeps the reasons. A test is a function of Go. It passes if all of
it passes. The newest dockerd fails many: they start a dockerd of their own, or need an image from outside.

A test that passes here has to pass: "hack/test" runs those of the suites container, system and
image, "hack/test --long" all. A
test that passes on dockerd and not here has its reason in the last column.

`

// write writes the table. A reason goes where a test passes.
func (t table) write(path string) error {
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("| suite | engine-lite passes | dockerd passes | tests |\n|---|---|---|---|\n")
	for _, suite := range suites {
		var here, there, all int
		for _, r := range t.rows() {
			if r.suite != suite {
				continue
			}
			all++
			if r.here == pass {
				here++
			}
			if r.there == pass {
				there++
			}
		}
		if all > 0 {
			fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", suite, here, there, all)
		}
	}
	b.WriteString("\n## All tests\n\n| suite | test | engine-lite | dockerd | reason |\n|---|---|---|---|---|\n")
	for _, r := range t.rows() {
		if r.here == pass {
			r.reason = ""
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.suite, r.test, r.here, r.there, r.reason)
	}
	return errors.Join(os.WriteFile(path, []byte(b.String()), 0o644), t.complete())
}
