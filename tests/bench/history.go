package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/journal"
)

// spread is a median with the 95th percentile beside it.
type spread struct {
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f)", s.Median, s.P95) }

// spreadOf is the spread of several measurements.
func spreadOf(times int, one func() (float64, error)) (spread, error) {
	var all []float64
	for range times {
		v, err := one()
		if err != nil {
			return spread{}, err
		}
		all = append(all, v)
	}
	return spread{median(all), quantile(all, 0.95)}, nil
}

// history is the result for an engine with so many events in its journal. It has no goal:
// the table shows what grows with the number of events.
type history struct {
	Events int     `json:"events"`
	Ready  spread  `json:"ready"`  // ms from the engine's launch until it has listed its containers
	Append spread  `json:"append"` // ms of a request that is one commit with one event
	First  spread  `json:"first"`  // ms from the request for all events until the first is there
	All    float64 `json:"all"`    // … until the last is, in seconds
	// ms from the request for those since a moment in the middle until the first is there
	Since  spread  `json:"since"`
	File   float64 `json:"file"`   // MB of the disk that the journal takes
	Memory float64 `json:"memory"` // MB, the engine's processes after all that
}

// How often each is measured.
const (
	historyStarts   = 5
	historyAppends  = 200
	historyRequests = 50
)

// histories measures engines with journals of different lengths.
func (s *session) histories(ctx context.Context) error {
	if !s.grow {
		return nil
	}
	for _, n := range s.sizes.history {
		progress("a journal with %d events", n)
		h, err := s.history(ctx, n)
		if err != nil {
			s.fail(growTarget, fmt.Sprintf("history of %d events", n), err)
		} else {
			s.report.Histories = append(s.report.Histories, h)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// history fills a journal and starts an engine with it.
func (s *session) history(ctx context.Context, n int) (h history, err error) {
	p, err := s.place(growTarget)
	if err != nil {
		return h, err
	}
	path := filepath.Join(p.disk, "journal.db")
	middle, err := fillJournal(ctx, path, n)
	if err != nil {
		return h, err
	}
	d := kindNamed(growTarget).make(s.options, p).(*daemon)
	d.args = append(d.args, "--events-max-size", "8GiB")
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx)), os.RemoveAll(p.disk)) }()
	if err := d.open(ctx); err != nil {
		return h, err
	}
	if h, err = d.measureHistory(ctx, n, middle); err != nil {
		return h, err
	}
	var stat unix.Stat_t
	err = unix.Stat(path, &stat)
	h.File = float64(stat.Blocks) * 512 / 1e6
	return h, err
}

// engineFormat is the format of the engine's journal. The engine would migrate an older
// one first.
const engineFormat = 2

// fillJournal appends the events of many containers: one event each second, the last one
// now. It returns the event in the middle.
func fillJournal(ctx context.Context, path string, n int) (middle journal.Event, err error) {
	j, err := journal.Open(path, journal.Options{Format: engineFormat, MaxAge: -1, MaxBytes: -1})
	if err != nil {
		return middle, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	const batch = 10_000
	begin := time.Now().Add(-time.Duration(n) * time.Second)
	for from := 0; from < n; from += batch {
		err := j.Commit(ctx, func(tx *journal.Tx) error {
			for i := from; i < min(from+batch, n); i++ {
				e := containerEvent(i)
				e.Time = begin.Add(time.Duration(i) * time.Second)
				seq := tx.Append(e)
				if i == n/2 {
					middle, middle.Seq = e, seq
				}
			}
			return nil
		})
		if err != nil {
			return middle, err
		}
	}
	return middle, nil
}

// containerEvent is the i-th event: each container has four.
func containerEvent(i int) journal.Event {
	actions := [...]string{"create", "start", "die", "destroy"}
	e := journal.Event{
		Type: "container", Action: actions[i%4], ID: fmt.Sprintf("%064x", i/4), Generation: 1,
		Attributes: map[string]string{"image": image, "name": fmt.Sprintf("container-%d", i/4)},
	}
	if e.Action == "die" {
		e.Attributes["exitCode"], e.Attributes["execDuration"] = "0", "3"
	}
	return e
}

func (d *daemon) measureHistory(ctx context.Context, n int, middle journal.Event) (h history, err error) {
	h.Events = n
	if h.Ready, err = spreadOf(historyStarts, func() (float64, error) { return d.restart(ctx, 0) }); err != nil {
		return h, err
	}
	id, err := d.create(ctx, container{args: trueArgs})
	if err != nil {
		return h, err
	}
	i := 0
	if h.Append, err = spreadOf(historyAppends,
		func() (float64, error) { i++; return d.timedRename(ctx, id, i) }); err != nil {
		return h, err
	}
	if h.First, err = spreadOf(historyRequests,
		func() (float64, error) { return d.firstEvent(ctx, "cursor=0", 1) }); err != nil {
		return h, err
	}
	since := "since=" + unixTime(middle.Time)
	if h.Since, err = spreadOf(historyRequests,
		func() (float64, error) { return d.firstEvent(ctx, since, middle.Seq) }); err != nil {
		return h, err
	}
	if h.All, err = d.allEvents(ctx, n); err != nil {
		return h, err
	}
	w, err := d.settled(ctx)
	h.Memory = w.pss / 1e6
	return h, errors.Join(err, d.remove(ctx, id))
}

// timedRename renames a container: one commit with one event. The answer comes when the
// event is on the disk.
func (d *daemon) timedRename(ctx context.Context, id string, i int) (float64, error) {
	elapsed := stopwatch()
	err := d.post(ctx, fmt.Sprintf("/containers/%s/rename?name=renamed-%d", id, i), nil, nil)
	return elapsed(), err
}

// firstEvent asks for events, and measures when the first one comes. It must be the event
// with number seq.
func (d *daemon) firstEvent(ctx context.Context, query string, seq uint64) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel() // ends the stream
	elapsed := stopwatch()
	answer, err := d.ask(ctx, http.MethodGet, "/events?"+query, nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	line, err := bufio.NewReader(answer.Body).ReadBytes('\n')
	ms := elapsed()
	return ms, errors.Join(err, isEvent(line, seq))
}

// allEvents reads the first n events, and returns the seconds that it took. It counts
// lines and does not decode them.
func (d *daemon) allEvents(ctx context.Context, n int) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	elapsed := stopwatch()
	answer, err := d.ask(ctx, http.MethodGet, "/events?cursor=0", nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	r := bufio.NewReaderSize(answer.Body, bufferSize)
	var last []byte
	for range n {
		if last, err = r.ReadSlice('\n'); err != nil {
			return 0, err
		}
	}
	seconds := elapsed() / 1000
	return seconds, isEvent(last, uint64(n))
}

// isEvent returns an error if the line is not the event with that number.
func isEvent(line []byte, seq uint64) error {
	var e struct {
		Seq uint64 `json:"seq"`
	}
	err := json.Unmarshal(line, &e)
	if err == nil && e.Seq != seq {
		err = fmt.Errorf("event %d came, not %d", e.Seq, seq)
	}
	return err
}
