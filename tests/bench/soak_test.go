package main

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// steady is a reading of an engine that is idle.
func steady() *reading {
	r := &reading{figures: figures{}, things: map[string]things{}}
	for _, g := range gauges {
		if g.slack > 0 {
			r.figures[g.name] = 10
		} else {
			r.things[g.name] = things{"one": 1, "another": 2}
		}
	}
	return r
}

// TestCompare lets each gauge grow alone: by its slack, and by more.
func TestCompare(t *testing.T) {
	if err := compare(steady(), steady()); err != nil {
		t.Errorf("nothing has grown: %v", err)
	}
	for _, g := range gauges {
		for _, tt := range []struct {
			name string
			grow func(r *reading)
			want string // in the error; empty for none
		}{
			{"less", func(r *reading) { r.figures[g.name]--; r.things[g.name] = things{"one": 1} }, ""},
			{"others, as many", func(r *reading) { r.things[g.name] = things{"a third": 3} }, ""},
			{"as much as it may", func(r *reading) { r.figures[g.name] += g.slack }, ""},
			{"more", func(r *reading) {
				r.figures[g.name] += g.slack + 0.1
				r.things[g.name] = things{"one": 3, "another": 2}
			}, g.name + ": "},
		} {
			last := steady()
			tt.grow(last)
			switch err := compare(steady(), last); {
			case (err != nil) != (tt.want != ""):
				t.Errorf("%s, %s: %v", g.name, tt.name, err)
			case err != nil && (!strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "; ")):
				t.Errorf("%s, %s: %v", g.name, tt.name, err)
			case err != nil && g.slack == 0 && !strings.HasSuffix(err.Error(), "\n\t+2 one"):
				t.Errorf("%s, %s: it should name what has grown: %v", g.name, tt.name, err)
			}
		}
	}
}

// TestSoakDocs puts a table where docs/testing.md has the one of an earlier run.
func TestSoakDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	got, err := between(string(data), soakMarkdown(sample(), "heading\nrow\n"))
	if err != nil || !strings.Contains(got, "before it, 0 % after it:\n\n    heading\n    row\n\n"+endMark) ||
		len(got) < len(data)/2 {
		t.Errorf("%v\n%s", err, got)
	}
}

// TestLeast keeps the least of each gauge, with the names that belong to it.
func TestLeast(t *testing.T) {
	least := &reading{}
	for _, r := range []*reading{
		{figures{"a": 2, "b": 1}, map[string]things{"x": {"probe": 2, "one": 1}, "y": {"one": 1}}},
		{figures{"a": 1, "b": 2}, map[string]things{"x": {"one": 1}, "y": {"one": 1, "probe": 1}}},
	} {
		least.least(r)
	}
	if least.figures["a"] != 1 || least.figures["b"] != 1 || least.things["x"].count() != 1 ||
		least.things["x"]["one"] != 1 || least.things["y"].count() != 1 {
		t.Errorf("%+v", least)
	}
}

// TestMakers counts the goroutines of this process.
func TestMakers(t *testing.T) {
	begun, end, ended := make(chan struct{}, 3), make(chan struct{}), make(chan struct{}, 3)
	const n = 3
	for range n {
		go func() { begun <- struct{}{}; <-end; ended <- struct{}{} }()
	}
	for range n {
		<-begun
	}
	b := make([]byte, 1<<20)
	found := makers(string(b[:runtime.Stack(b, true)]))
	close(end)
	for range n {
		<-ended
	}
	mine := 0
	for name, count := range found {
		if strings.HasSuffix(name, ".TestMakers") {
			mine += count
		}
	}
	if mine != n || found.count() <= n {
		t.Errorf("%v", found)
	}
}

// TestAnonymous checks that names of the same kind become equal, and names of other kinds
// do not.
func TestAnonymous(t *testing.T) {
	for _, tt := range []struct{ a, b string }{
		{"pipe:[123]", "pipe:[45678]"},
		{"/run/b/stdio/6dcf0d4db30583888fd3e4bb233d531670d7/out",
			"/run/b/stdio/aacf0d4db30583888fd3e4bb233d531670d0/out"},
	} {
		if anonymous(tt.a) != anonymous(tt.b) {
			t.Errorf("%s and %s", anonymous(tt.a), anonymous(tt.b))
		}
	}
	if a, b := anonymous("anon_inode:[pidfd]"), anonymous("anon_inode:[eventpoll]"); a == b {
		t.Errorf("both are %s", a)
	}
}
