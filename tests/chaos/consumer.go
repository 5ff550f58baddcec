package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"

	"github.com/engine-lite/engine-lite/events"
)

// consumer is a process that consumes events. It is killed and started again.
type consumer struct {
	name string
	args []string

	mu      sync.Mutex
	process *process
	started int
	// read counts the events of its record; again counts those that came twice because of a
	// kill.
	read, again int
}

// startConsumers starts three consumers: a fast one, a slow one, and one that reconnects
// all the time.
func (w *world) startConsumers() error {
	w.consumers = []*consumer{
		{name: "fast"}, {name: "slow", args: []string{"--slow", "20ms"}},
		{name: "reconnecting", args: []string{"--reconnect", "300ms"}},
	}
	var errs []error
	for _, c := range w.consumers {
		errs = append(errs, os.Mkdir(w.file(c.name), 0o700), c.start(w))
	}
	return errors.Join(errs...)
}

func (c *consumer) start(w *world) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	args := append([]string{w.self, "consume", "--socket", w.socket(), "--dir", w.file(c.name)}, c.args...)
	p, err := w.spawn(c.name+".log", args...)
	if err == nil {
		c.process = p
		c.started++
	}
	return err
}

func (c *consumer) running() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process
}

// kill kills the consumer and starts it again.
func (c *consumer) kill(w *world) {
	p := c.running()
	if p.hasEnded() {
		w.difference("the %s consumer has ended by itself: %s", c.name, w.tail(c.name+".log"))
	} else if err := p.cmd.Process.Kill(); err != nil {
		w.difference("kill the %s consumer: %v", c.name, err)
	}
	<-p.ended
	if err := c.start(w); err != nil {
		w.difference("the %s consumer cannot be started: %v", c.name, err)
	}
}

// end stops the consumer with SIGTERM.
func (c *consumer) end(w *world) {
	if p := c.running(); p != nil {
		if err := p.end(); err != nil {
			w.difference("the %s consumer: %v: %s", c.name, err, w.tail(c.name+".log"))
		}
	}
}

// compare waits until the consumer has all events, and compares its record with the
// history. Each event must be there, in order. The last event before a kill may come
// twice.
func (c *consumer) compare(ctx context.Context, w *world, history []events.Event) {
	newest := history[len(history)-1].Seq
	// The slow one may have many to read. It is behind only if it reads nothing more.
	for at := c.last(w); at < newest; at = c.last(w) {
		if !waitUntil(ctx, func() bool { return c.last(w) > at }) {
			break
		}
	}
	if c.last(w) < newest {
		w.difference("the %s consumer stays behind: at %d of %d events; %s", c.name, c.last(w), newest,
			w.tail(c.name+".log"))
		return
	}
	data, err := os.ReadFile(w.file(c.name + "/" + recordFile))
	if err != nil {
		w.difference("%v", err)
		return
	}
	next := 0 // index in history
	for line := range bytes.Lines(data) {
		var e events.Event
		if err := json.Unmarshal(line, &e); err != nil {
			w.difference("the %s consumer's record: %v: %s", c.name, err, line)
			return
		}
		if next > 0 && e.Seq == history[next-1].Seq {
			next--
			c.again++
		}
		if next < len(history) && !sameEvent(e, history[next]) {
			w.difference("event %[2]d of the %[1]s consumer is %+[3]v, in the journal %+[4]v", c.name, next, e,
				history[next])
			return
		}
		next, c.read = next+1, c.read+1
	}
	if next < len(history) || c.again >= c.started {
		w.difference("the %s consumer, started %d times, has %d events of %d, %d of them twice", c.name, c.started,
			c.read, len(history), c.again)
	}
}

func sameEvent(a, b events.Event) bool {
	if !a.Time.Equal(b.Time) {
		return false
	}
	a.Time = b.Time
	return reflect.DeepEqual(a, b)
}

// last is the number of the last event in the consumer's record.
func (c *consumer) last(w *world) uint64 {
	file, err := os.Open(w.file(c.name + "/" + recordFile))
	if err != nil {
		return 0
	}
	defer file.Close()
	const end = 64 << 10
	if info, err := file.Stat(); err == nil && info.Size() > end {
		if _, err := file.Seek(-end, io.SeekEnd); err != nil {
			return 0
		}
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return 0
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	data = bytes.TrimSuffix(data, []byte("\n"))
	var e events.Event
	if json.Unmarshal(data[bytes.LastIndexByte(data, '\n')+1:], &e) != nil {
		return 0
	}
	return e.Seq
}

// history is every event that the engine has.
func (w *world) history(ctx context.Context) ([]events.Event, error) {
	client := events.Unix(w.socket())
	defer client.Close()
	newest, err := client.Now(ctx)
	if err != nil {
		return nil, err
	}
	var list []events.Event
	err = events.Consume(ctx, client, new(events.Memory), func(e events.Event) error {
		list = append(list, e)
		if e.Seq == newest.Seq {
			return errAllRead
		}
		return nil
	})
	if !errors.Is(err, errAllRead) {
		return nil, fmt.Errorf("read the journal's events: %w", err)
	}
	if list[0].Seq != 1 {
		return nil, fmt.Errorf("the journal begins with event %d", list[0].Seq)
	}
	return list, nil
}

var errAllRead = errors.New("all events are read")
