package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lines = `{"resourceSpans":[{"scopeSpans":[{"spans":[
{"traceId":"t","spanId":"3","parentSpanId":"2","name":"inner","startTimeUnixNano":"1002000000","endTimeUnixNano":"1003000000","status":{"message":"broken","code":2}},
{"traceId":"other","spanId":"9","name":"other","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}
{"resourceSpans":[{"scopeSpans":[{"spans":[
{"traceId":"t","spanId":"4","parentSpanId":"2","name":"later","startTimeUnixNano":"1010000000","endTimeUnixNano":"1020000000"},
{"traceId":"t","spanId":"2","parentSpanId":"1","name":"request","startTimeUnixNano":"1000000000","endTimeUnixNano":"1010000000"}]}]}]}
`

func TestWaterfall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	oneLineEach := strings.ReplaceAll(strings.ReplaceAll(lines, ",\n", ","), "[\n", "[")
	if err := os.WriteFile(path, []byte(oneLineEach), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{path, "t"}, &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"request 0.00 10.00 " + strings.Repeat("#", 25),
		"inner 2.00 1.00 ## failed: broken",
		"later 10.00 10.00 " + strings.Repeat("#", 25),
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestWaterfallOfMany draws the trace whose requests took the median time, and names no container.
func TestWaterfallOfMany(t *testing.T) {
	var file strings.Builder
	id := strings.Repeat("0a", 32)
	for trace, end := range map[string]string{"slow": "1009000000", "middle": "1005000000", "fast": "1002000000",
		"faster": "1001000000"} {
		file.WriteString(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"` + trace +
			`","spanId":"1","name":"GET /exec/` + id +
			`/json of ` + trace + `","startTimeUnixNano":"1000000000","endTimeUnixNano":"` + end + `"}]}]}]}` + "\n")
	}
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{path, "slow", "middle", "fast"}, &out); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	want := "all requests 5.00 of 3 from 2.00 to 9.00 GET /exec/ID/json of middle 0.00 5.00 " + strings.Repeat("#",
		width)
	if got != want {
		t.Errorf("got %s, not %s", got, want)
	}
	if err := run([]string{path, "slow", "nosuch"}, &bytes.Buffer{}); err == nil {
		t.Error("a trace that isn't there: no error")
	}
}

func TestWaterfallRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"no json": "hello\n",
		"no span": "{}\n",
		"no time": `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"t","spanId":"1","startTimeUnixNano":"x"}]}]}]}` + "\n",
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run([]string{path, "t"}, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := run([]string{"a"}, &bytes.Buffer{}); err == nil {
		t.Error("one argument: no error")
	}
}
