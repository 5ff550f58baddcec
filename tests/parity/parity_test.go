package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStored checks that each case has stored answers of dockerd, and that no others are stored.
func TestStored(t *testing.T) {
	cases, err := readCases("cases", "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := readAnswers("dockerd.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if _, ok := stored[c.name+behindName+"events"]; !ok {
			t.Errorf("no answers of dockerd to case %s: hack/parity --write-docs", c.name)
		}
		if len(c.steps) == 0 {
			t.Errorf("case %s has no step", c.name)
		}
	}
	if some := stored.of(cases); len(some) != len(stored) {
		t.Errorf("%d answers are of no case", len(stored)-len(some))
	}
	if _, err := readReasons("differences.txt"); err != nil {
		t.Error(err)
	}
}

func TestParseCases(t *testing.T) {
	cases, err := parseCases("f", "# comment\n\n== a b\n$ docker ps -a\n> POST /x?a=b {\"c\": 1}\n== d\n> GET /\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 2 || cases[0].name != "f/a b" || len(cases[0].steps) != 2 || !cases[0].steps[0].shell ||
		cases[0].steps[0].body != "docker ps -a" {
		t.Fatalf("got %+v", cases)
	}
	if s := cases[0].steps[1]; s.shell || s.method != "POST" || s.path != "/x?a=b" || s.body != `{"c": 1}` {
		t.Errorf("got %+v", s)
	}
	for _, bad := range []string{"$ ls", "== a\n? x", "== a\n$", "== a\n> GET x"} {
		if _, err := parseCases("f", bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestAnswers(t *testing.T) {
	a := answers{}
	a.add("c #1 body", []byte(`{"Id":"`+strings.Repeat("ab", 32)+`","N":[1,{}],"Created":7}`))
	a.add("c #2 out", []byte("at 2026-01-02T03:04:05.6Z\n"))
	a.add("c #3 body", []byte("{}\n{\"a\":null}\n"))
	for key, want := range map[string]string{
		"c #1 body.Id": `"<id>"`, "c #1 body.N[0]": "1", "c #1 body.N[1]": "{}", "c #1 body.Created": "<number>",
		"c #2 out": "at <time>", "c #3 body[0]": "{}", "c #3 body[1].a": "<nil>",
	} {
		if a[key] != want {
			t.Errorf("%s: got %q, want %q", key, a[key], want)
		}
	}
}

func TestCompare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reasons")
	if err := os.WriteFile(file, []byte("# c\nf/a #1 *: known\nf/b*: unused\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	why, err := readReasons(file)
	if err != nil {
		t.Fatal(err)
	}
	ours := answers{"f/a #1 out.x/y": "1", "f/a #2 out": "1", "f/a #3 out": "same"}
	theirs := answers{"f/a #1 out.x/y": "2", "f/a #3 out": "same", "f/a #4 out": "3"}
	r := compare(nil, ours, theirs, why)
	if r.pieces != 4 || r.explained() != 1 || len(r.unexplained) != 2 || r.unexplained[0] != (difference{"f/a #2 out", "1", absent}) {
		t.Errorf("got %+v", r)
	}
	if err := why.stale(); err == nil || !strings.Contains(err.Error(), `"f/b*"`) {
		t.Errorf("a reason for nothing: %v", err)
	}
	for _, bad := range []string{"no reason", "pattern: ", "[: x"} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readReasons(file); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
