// Command waterfall prints the spans of one trace, in the order of their begin,
// from a file of OTLP's JSON lines. Of several traces it prints the one whose requests
// took the median time:
//
//	waterfall FILE TRACE [TRACE]...
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/engine-lite/engine-lite/internal/span/otlpfile"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "waterfall:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) < 2 {
		return errors.New("usage: waterfall FILE TRACE [TRACE]...: a file and a trace are needed")
	}
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	traces, err := read(file, args[1:])
	if err != nil {
		return err
	}
	slices.SortStableFunc(traces, func(a, b []*step) int { return cmp.Compare(requests(a), requests(b)) })
	middle := traces[(len(traces)-1)/2]
	if len(traces) > 1 {
		_, err = fmt.Fprintf(out, "%-52s %8s %8.2f  of %d from %.2f to %.2f\n", "all requests", "",
			milliseconds(requests(middle)),
			len(traces), milliseconds(requests(traces[0])), milliseconds(requests(traces[len(traces)-1])))
		if err != nil {
			return err
		}
	}
	return draw(out, middle)
}

// requests is the time of the steps that are below no other step.
func requests(roots []*step) (sum time.Duration) {
	for _, r := range roots {
		sum += r.end.Sub(r.begin)
	}
	return sum
}

// step is a span, with the steps below it.
type step struct {
	id, parent, name string
	begin, end       time.Time
	failed           string
	below            []*step
}

// longestLine is the maximum length of a line, in bytes: a batch of spans.
const longestLine = 16 << 20

// read reads the spans of traces and returns, for each trace, the steps that are below no other.
func read(r io.Reader, traces []string) ([][]*step, error) {
	found := map[string]map[string]*step{} // by trace, by id
	for _, t := range traces {
		found[t] = map[string]*step{}
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var b otlpfile.Batch
		if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
			return nil, fmt.Errorf("not a line of spans: %w", err)
		}
		for _, s := range b.Spans() {
			byID := found[s.Trace]
			if byID == nil {
				continue
			}
			step, err := newStep(s)
			if err != nil {
				return nil, err
			}
			byID[step.id] = step
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	var roots [][]*step
	for _, t := range traces {
		if len(found[t]) == 0 {
			return nil, fmt.Errorf("no span of trace %s", t)
		}
		roots = append(roots, tree(found[t]))
	}
	return roots, nil
}

func newStep(s otlpfile.Span) (*step, error) {
	begin, err := moment(s.Start)
	if err != nil {
		return nil, err
	}
	end, err := moment(s.End)
	if err != nil {
		return nil, err
	}
	return &step{id: s.ID, parent: s.Parent, name: s.Name, begin: begin, end: end, failed: s.Status.Message}, nil
}

func moment(text string) (time.Time, error) {
	nanos, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("a span's time: %w", err)
	}
	return time.Unix(0, nanos), nil
}

// tree hangs the steps below each other, each level in the order of begin.
func tree(byID map[string]*step) []*step {
	var roots []*step
	for _, s := range byID {
		if parent := byID[s.parent]; parent != nil {
			parent.below = append(parent.below, s)
		} else {
			roots = append(roots, s)
		}
	}
	order := func(a, b *step) int { return cmp.Or(a.begin.Compare(b.begin), strings.Compare(a.id, b.id)) }
	for _, s := range byID {
		slices.SortFunc(s.below, order)
	}
	slices.SortFunc(roots, order)
	return roots
}

// width is the width of the bars, in characters.
const width = 50

// draw prints each request and the steps below it, with the beginning of each step after
// that of the request and its length, in milliseconds. Steps in the background may end
// after the request: the bars show all of them.
func draw(out io.Writer, roots []*step) error {
	var text strings.Builder
	for i, root := range roots {
		if i > 0 {
			text.WriteByte('\n')
		}
		root.draw(&text, root.begin, last(root).Sub(root.begin), 0)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// last is when the last step below s, or s itself, ended.
func last(s *step) time.Time {
	end := s.end
	for _, b := range s.below {
		if e := last(b); e.After(end) {
			end = e
		}
	}
	return end
}

// id matches the id of a container or an exec, which is left out of the picture.
var id = regexp.MustCompile(`[0-9a-f]{64}`)

func (s *step) draw(w *strings.Builder, zero time.Time, whole time.Duration, depth int) {
	from, took := s.begin.Sub(zero), s.end.Sub(s.begin)
	at := func(d time.Duration) int { return int(int64(d) * width / max(1, int64(whole))) }
	bar := max(1, at(from+took)-at(from))
	name := strings.Repeat("  ", depth) + id.ReplaceAllString(s.name, "ID")
	fmt.Fprintf(w, "%-52.52s %8.2f %8.2f  %s%s", name, milliseconds(from), milliseconds(took),
		strings.Repeat(" ", at(from)), strings.Repeat("#", bar))
	if s.failed != "" {
		fmt.Fprintf(w, "  failed: %s", s.failed)
	}
	w.WriteByte('\n')
	for _, b := range s.below {
		b.draw(w, zero, whole, depth+1)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
