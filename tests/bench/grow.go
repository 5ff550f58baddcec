package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// growTarget is the engine whose growth is measured.
const growTarget = "engine-lite+crun"

// grown is the result for an engine with so many running containers.
type grown struct {
	Containers  int     `json:"containers"`
	Start       float64 `json:"start"`   // ms that one more start takes
	List        float64 `json:"list"`    // ms that a list of the running ones takes
	Memory      float64 `json:"memory"`  // MB, the engine's processes
	Restart     float64 `json:"restart"` // ms from the next engine's launch until it has listed all
	Descriptors int     `json:"descriptors"`
	Threads     int     `json:"threads"`
	Processes   int     `json:"processes"`
	Goroutines  int     `json:"goroutines"` // of the engine alone
}

// delivery is the result for an event with so many subscribers.
type delivery struct {
	Subscribers int     `json:"subscribers"`
	First       float64 `json:"first"` // ms from the request until the first subscriber has the event
	Last        float64 `json:"last"`  // … until all have
}

// growth measures an engine with more and more containers, then with more and more
// subscribers.
func (s *session) growth(ctx context.Context) (err error) {
	if !s.grow {
		return nil
	}
	k := kindNamed(growTarget)
	d, _ := s.openTarget(ctx, k).(*daemon)
	if d == nil {
		return nil
	}
	s.noteVersion(ctx, d)
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	if err := errors.Join(s.containers(ctx, d), s.subscribers(ctx, d)); err != nil {
		s.fail(k.name, "growth", err)
	}
	return nil
}

func (s *session) containers(ctx context.Context, d *daemon) error {
	var ids []string
	for _, n := range s.sizes.grow {
		progress("growing to %d containers", n)
		more, _, err := d.startMany(ctx, n-len(ids))
		ids = append(ids, more...)
		if err == nil {
			var g grown
			if g, err = d.measureAt(ctx, n); err == nil {
				s.report.Growth = append(s.report.Growth, g)
			}
		}
		if err != nil {
			return err
		}
	}
	_, err := d.removeMany(ctx, ids)
	return err
}

// measureAt measures an engine that has n containers, and starts it again.
func (d *daemon) measureAt(ctx context.Context, n int) (grown, error) {
	g := grown{Containers: n}
	var err error
	g.Start, err = repeated(10, func() (float64, error) {
		f, err := startDaemon(ctx, d, sizes{})
		return f["start"], err
	})
	if err != nil {
		return g, err
	}
	if g.List, err = repeated(10, func() (float64, error) { return d.timedList(ctx, n) }); err != nil {
		return g, err
	}
	w, err := d.settled(ctx)
	if err != nil {
		return g, err
	}
	g.Memory, g.Descriptors, g.Threads, g.Processes = w.pss/1e6, w.descriptors, w.threads, w.processes
	var info struct{ NGoroutines int }
	if err := d.get(ctx, "/info", &info); err != nil {
		return g, err
	}
	g.Goroutines = info.NGoroutines
	g.Restart, err = repeated(3, func() (float64, error) { return d.restart(ctx, n) })
	return g, err
}

func (d *daemon) timedList(ctx context.Context, n int) (float64, error) {
	elapsed := stopwatch()
	got, err := d.list(ctx)
	ms := elapsed()
	if err == nil && got != n {
		err = fmt.Errorf("%d containers are running, not %d", got, n)
	}
	return ms, err
}

// restart stops the engine and starts the next one. Containers run on.
func (d *daemon) restart(ctx context.Context, n int) (float64, error) {
	if err := d.end(ctx); err != nil {
		return 0, err
	}
	elapsed := stopwatch() // without the time of the stop
	if err := d.launch(ctx); err != nil {
		return 0, err
	}
	_, err := d.timedList(ctx, n)
	return elapsed(), err
}

// repeated is the median of several times.
func repeated(times int, one func() (float64, error)) (float64, error) {
	var all []float64
	for range times {
		v, err := one()
		if err != nil {
			return 0, err
		}
		all = append(all, v)
	}
	return median(all), nil
}

// subscribers measures the delivery of an event to many subscribers.
func (s *session) subscribers(ctx context.Context, d *daemon) error {
	id, err := d.create(ctx, container{args: trueArgs})
	if err != nil {
		return err
	}
	for _, n := range s.sizes.subscribers {
		progress("sending events to %d subscribers", n)
		t, err := d.timeDelivery(ctx, id, n)
		if err != nil {
			return err
		}
		s.report.Deliveries = append(s.report.Deliveries, t)
	}
	return d.remove(ctx, id)
}

// timeDelivery renames a container several times, and measures when subscribers have the
// event. The time includes the decoding of all answers in this process.
func (d *daemon) timeDelivery(ctx context.Context, id string, n int) (delivery, error) {
	const times = 10
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel() // ends the readers
	seen := make(chan moment, n*(times+1))
	for range n {
		answer, err := d.ask(ctx, http.MethodGet, `/events?filters={"container":["`+id+`"]}`, nil)
		if err != nil {
			return delivery{}, err
		}
		readers.Go(func() {
			defer answer.Body.Close()
			decode(answer.Body, seen)
		})
	}
	var first, last []float64
	for i := range times {
		begin := time.Now()
		if err := d.post(ctx, fmt.Sprintf("/containers/%s/rename?name=renamed-%d-%d", id, n, i), nil, nil); err != nil {
			return delivery{}, err
		}
		soonest, latest, err := gather(ctx, seen, n)
		if err != nil {
			return delivery{}, err
		}
		first, last = append(first, milliseconds(soonest.Sub(begin))), append(last, milliseconds(latest.Sub(begin)))
	}
	return delivery{n, median(first), median(last)}, nil
}

// decode sends the time of each value to seen, until the reader ends.
func decode(r io.Reader, seen chan<- moment) {
	for d := json.NewDecoder(r); ; {
		var v json.RawMessage
		err := d.Decode(&v)
		seen <- moment{time.Now(), err} // has room for each value that comes, and the end
		if err != nil {
			return
		}
	}
}

func gather(ctx context.Context, seen <-chan moment, n int) (soonest, latest time.Time, err error) {
	for range n {
		select {
		case m := <-seen:
			if m.err != nil {
				return soonest, latest, m.err
			}
			if soonest.IsZero() || m.at.Before(soonest) {
				soonest = m.at
			}
			if m.at.After(latest) {
				latest = m.at
			}
		case <-time.After(waitLimit):
			return soonest, latest, errors.New("an event has not come")
		case <-ctx.Done():
			return soonest, latest, ctx.Err()
		}
	}
	return soonest, latest, nil
}
