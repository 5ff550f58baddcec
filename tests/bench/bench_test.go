package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStatistics(t *testing.T) {
	t.Parallel()
	odd, even := []float64{9, 1, 5}, []float64{4, 1, 3, 2}
	for _, tt := range []struct {
		what      string
		got, want float64
	}{
		{"median of three", median(odd), 5},
		{"median of four", median(even), 2.5},
		{"95th of four", quantile(even, 0.95), 4},
		{"5th of four", quantile(even, 0.05), 1},
		{"half of four", quantile(even, 0.5), 2},
		{"ratio, of common rounds only", ratio(map[int]float64{1: 2, 2: 9, 3: 8}, map[int]float64{1: 1, 3: 2, 4: 7}),
			3},
		{"ratio without a common round", ratio(map[int]float64{1: 2}, map[int]float64{2: 1}), 0},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, not %v", tt.what, tt.got, tt.want)
		}
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("nothing has a median")
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		row                           string
		figure, ratio, commit, docker float64
		runtime                       string
		want                          goalResult
	}{
		{row: "run", ratio: 1.5, runtime: "runc", want: reached},
		{row: "run", ratio: 1.6, runtime: "runc", want: missed},
		{row: "run", ratio: 1.6, runtime: "crun", want: reached},
		{row: "run", runtime: "crun", want: noGoal}, // no bare runtime beside it
		{row: "stdout", ratio: 1.9, runtime: "runc", want: missed},
		{row: "stdout", ratio: 2.1, runtime: "crun", want: reached},
		{row: "die", figure: 2.9, commit: 0.5, runtime: "crun", want: reached},
		{row: "die", figure: 2.9, runtime: "crun", want: missed},
		{row: "logs", figure: 401, docker: 60, runtime: "runc", want: reached},
		{row: "logs", figure: 401, docker: 70, runtime: "runc", want: missed},
		{row: "remove", figure: 99, runtime: "crun", want: missed},
		{row: "remove", figure: 9, runtime: "runc", want: noGoal},
		{row: "memory", figure: 40, runtime: "runc", want: reached},
		{row: "commit", figure: 40, want: noGoal},
	} {
		if got := rowNamed(tt.row).compareWithGoal(tt.figure, tt.ratio,
			tt.runtime, tt.commit, tt.docker); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// TestRowsHaveAWorkload checks that each row has a workload, and that each workload's rows
// are in the table.
func TestRowsHaveAWorkload(t *testing.T) {
	t.Parallel()
	filled := map[string]bool{"memory": true, "memory-each": true, "commit": true}
	for _, w := range workloads {
		for _, name := range w.rows {
			filled[name] = true
			if !contains(rowNames(), name) {
				t.Errorf("no row %s", name)
			}
		}
	}
	for _, name := range rowNames() {
		if !filled[name] {
			t.Errorf("nothing fills row %s", name)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--dir d":                                "",
		"--dir d --targets runc,crun --rows run": "",
		"--dir d --short --grow":                 "",
		"--dir d --files":                        "",
		"--from x":                               "",
		"":                                       "run hack/bench",
		"--dir d --targets nosuch":               `no target "nosuch"`,
		"--dir d --rows run,nosuch":              `no row "nosuch"`,
		"--dir d --rounds 1001":                  "1001 rounds",
		"--dir d more":                           `what is "more"?`,
	} {
		_, err := parseOptions(strings.Fields(args))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, not %q", args, err, want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	b := text(1 << 20)
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(b) != 1<<20 || b[len(b)-1] != '\n' || len(lines) < 10_000 {
		t.Errorf("%d bytes, %d lines", len(b), len(lines))
	}
}

// answering serves one connection of a socket with an answer, and returns a client for it.
func answering(t *testing.T, answer []byte) *client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil { // unread bytes would reset the connection
			t.Error(err)
		}
		if _, err := conn.Write(answer); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return newClient(path)
}

func frames(payloads ...string) []byte {
	b := []byte("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	for _, p := range payloads {
		header := [8]byte{1}
		binary.BigEndian.PutUint32(header[4:], uint32(len(p)))
		b = append(append(b, header[:]...), p...)
	}
	return b
}

func TestFrames(t *testing.T) {
	t.Parallel()
	whole := frames("one", "", strings.Repeat("x", 3<<20))
	for what, tt := range map[string]struct {
		answer []byte
		want   int
		err    error
	}{
		"whole":         {whole, 3 + 3<<20, nil},
		"torn payload":  {whole[:len(whole)-1], 0, io.ErrUnexpectedEOF},
		"torn header":   {append(frames("one"), 1, 0), 0, io.ErrUnexpectedEOF},
		"nothing in it": {frames(), 0, nil},
	} {
		s, err := answering(t, tt.answer).hijack(t.Context(), "/x", "")
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if n, err := count(s); !errors.Is(err, tt.err) || err == nil && n != tt.want {
			t.Errorf("%s: %d bytes, %v", what, n, err)
		}
		s.close()
	}
	refused := []byte("HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nnope")
	if _, err := answering(t, refused).hijack(t.Context(), "/x", ""); err == nil ||
		!strings.Contains(err.Error(), "nope") {
		t.Errorf("a refusal: %v", err)
	}
}

// FuzzFrames reads any bytes as frames: reading ends, and returns no more bytes than there
// are.
func FuzzFrames(f *testing.F) {
	f.Add(bytes.SplitAfterN(frames("one", "two"), []byte("\r\n\r\n"), 2)[1])
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newPayload(bytes.NewReader(data))
		if n, _ := count(&s); n > len(data) {
			t.Errorf("%d bytes out of %d", n, len(data))
		}
	})
}

// sample is a report with figures that reach and miss goals.
func sample() *report {
	r := &report{Date: time.Unix(1e9, 0).UTC(), Commit: "abc", Rounds: 2, Versions: map[string]string{"runc": "1 < 2"}}
	for round, f := range []float64{1, 2} {
		r.add("runc", "runc", round, figures{"run": 10 * f})
		r.add("engine-lite+runc", "runc", round, figures{"run": 20 * f, "memory": 39})
		r.add("docker-20.10", "runc", round, figures{"run": 70 * f})
		r.add(commitTarget, "", round, figures{"commit": f})
	}
	r.Growth = []grown{{Containers: 10, Start: 9}, {Containers: 1000, Start: 12.5, Restart: 1000.5}}
	r.Deliveries = []delivery{{Subscribers: 100, Last: 3.25}}
	r.Histories = []history{{Events: 77, Since: spread{1.25, 2.5}}}
	r.NotRun = []notRun{{Target: "crun", Why: "two\nlines"}}
	r.evaluate()
	return r
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := sample()
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := r.writeJSON(path); err != nil {
		t.Fatal(err)
	}
	again, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(r)
	after, _ := json.Marshal(again)
	if !bytes.Equal(before, after) {
		t.Errorf("written %s\nread    %s", before, after)
	}
	if s := again.series("run", "engine-lite+runc"); s.Ratio != 2 || s.Median != 30 || s.P95 != 40 {
		t.Errorf("%+v", s)
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.00 × runc", "7.00 × runc", "missed", "12.5 missed (1.39 × that with 10)",
		"1000 missed", "77", "not run: crun: two"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestDocs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "performance.md")
	text := "before\n" + beginMark + "\noutdated\n" + endMark + "\nafter\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it finds what the first one wrote
		if err := sample().writeDocs(path); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := string(data)
	if !strings.HasPrefix(got, "before\n"+beginMark) || !strings.HasSuffix(got, endMark+"\nafter\n") ||
		strings.Contains(got, "outdated") {
		t.Errorf("got %s", got)
	}
	for _, want := range []string{
		"| create, start, wait, delete, ms | **30.0** (2.00) | 105 (7.00) | 15.0 | ≤", "| 39.0 |", "median 1.50 ms",
		"| 1000 | **12.5** (1.39 × that with 10) | 0.00 | **1000** |", "| 77 |", "| 1.25 (2.50) |",
		"| 100 | 0.00 | 3.25 |", "* crun: two lines",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("not once: %q in\n%s", want, got)
		}
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sample().writeDocs(path); err == nil {
		t.Error("wrote into a file without marks")
	}
}

// TestMarks checks that the marks are where --write-docs looks for them.
func TestMarks(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := between(string(data), "fresh"); err != nil {
		t.Error(err)
	}
}

func TestPictures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := sample().draw(dir); err != nil {
		t.Fatal(err)
	}
	for _, p := range pictures {
		data, err := os.ReadFile(filepath.Join(dir, p.file))
		if p.file == "bench-throughput.svg" {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: there are no figures for it: %v", p.file, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(data)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", p.file, err)
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "bench-latency.svg"))
	if err != nil || bytes.Count(data, []byte("<rect")) != 4 { // the ground and three bars
		t.Errorf("%v\n%s", err, data)
	}
}
