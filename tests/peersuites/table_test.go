package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/tests/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStoredTable checks the table in the docs: each test that passes on dockerd passes here
// or has a reason, and writing the table changes nothing.
func TestStoredTable(t *testing.T) {
	const doc = "../../docs/peer-suites.md"
	stored, err := readTable(doc)
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) < 300 {
		t.Fatalf("the table has %d tests, want 300 at least", len(stored))
	}
	again := filepath.Join(t.TempDir(), "doc")
	if err := stored.write(again); err != nil {
		t.Error(err)
	}
	want, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not as the program writes it", doc)
	}
}

func TestCompare(t *testing.T) {
	const text = `| container | TestA | pass | pass | |
| container | TestB | fail | pass | volumes |
| container | TestC | fail | fail | |
`
	for name, c := range map[string]struct {
		results map[string]result
		want    string // of the error; empty for none
	}{
		"the same":    {map[string]result{"TestA": pass, "TestB": fail, "TestC": fail}, ""},
		"better":      {map[string]result{"TestA": pass, "TestB": pass, "TestC": pass}, ""},
		"worse":       {map[string]result{"TestA": fail}, "container TestA: fail, and passed before"},
		"skipped":     {map[string]result{"TestA": skip}, "container TestA: skip, and passed before"},
		"one of them": {map[string]result{"TestA": pass}, ""},
		"not run":     {map[string]result{"TestC": fail}, "container TestA passed before, and was not run"},
	} {
		stored, err := parseTable(text)
		if err != nil {
			t.Fatal(err)
		}
		stored.add("container", peer.EngineLite, c.results)
		if _, err := stored.compare([]string{"container"}); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	stored, err := parseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	stored.add("container", peer.Dockerd, map[string]result{"TestC": pass})
	if _, err := stored.compare(nil); err == nil || !strings.Contains(err.Error(), "TestC passes on dockerd, fails here, and has no reason") {
		t.Errorf("a test without a reason: %v", err)
	}
	if _, err := parseTable("| container | TestA | good | pass | |"); err == nil {
		t.Error("a result that does not exist was read")
	}
}

// TestRead reads what a suite prints: results, and the test that never ended.
func TestRead(t *testing.T) {
	s := suiteRun{results: map[string]result{}}
	last := s.read(strings.NewReader("\x16=== RUN   TestA\nout\n\x16=== RUN   TestA/sub\n    \x16--- FAIL: TestA/sub (0.00s)\n"+
		"\x16--- FAIL: TestA (0.10s)\n\x16=== RUN   TestB\n\x16--- PASS: TestB (0.10s)\n\x16=== RUN   TestC\n\x16--- SKIP: TestC (0.00s)\n"+
		"\x16=== RUN   TestD\n\x16=== RUN   TestD/sub\npanic: x\n"), func() {})
	if last != "TestD" {
		t.Errorf("the last test is %q, want TestD", last)
	}
	want := map[string]result{"TestA": fail, "TestB": pass, "TestC": skip}
	if len(s.results) != len(want) {
		t.Errorf("got %v, want %v", s.results, want)
	}
	for name, is := range want {
		if s.results[name] != is {
			t.Errorf("%s: got %q, want %q", name, s.results[name], is)
		}
	}
}
