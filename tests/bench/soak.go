package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// soak is an engine on which containers come and go, and what was read of it after each
// minute.
type soak struct {
	*daemon
	seed     uint64
	made     atomic.Int64 // containers
	readings []*reading
}

const (
	// period is how long containers come and go between two readings.
	period = time.Minute
	// probeEvery is short, so that each container is probed, even one that runs for a moment.
	probeEvery = 500 * time.Millisecond
	// residents are containers that run, and are probed, from the beginning to the end. Their
	// probes are rare enough that there is a moment without a probe.
	residents     = 3
	residentEvery = 5 * time.Second
)

// runSoak is a whole run. Its error says what has grown. Without an error it writes the
// table to the documents, if it is asked to.
func (o *options) runSoak(ctx context.Context, out io.Writer) error {
	limit := 2*time.Duration(o.soak)*period + 5*time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	if o.docs == "" {
		return o.soakOnce(ctx, out)
	}
	r := newReport(ctx, o)
	var table bytes.Buffer
	if err := o.soakOnce(ctx, io.MultiWriter(out, &table)); err != nil {
		return err
	}
	r.finish(ctx)
	return writeBetween(filepath.Join(o.docs, "testing.md"), soakMarkdown(r, table.String()))
}

// soakMarkdown is the printed table, with machine and date.
func soakMarkdown(r *report, table string) string {
	text := fmt.Sprintf("%s, commit %s, %s; other work took %.0f %% of the processors' time before it, %.0f %% after it:\n\n",
		r.Date.Format(time.DateTime+" MST"), r.Commit, r.Machine, 100*r.Machine.BusyBefore, 100*r.Machine.BusyAfter)
	for line := range strings.Lines(table) {
		text += "    " + line
	}
	return text
}

func (o *options) soakOnce(ctx context.Context, out io.Writer) error {
	s := &session{options: o, shared: &shared{}}
	var err error
	if s.image, err = newRootfs(filepath.Join(s.dir, "rootfs")); err != nil {
		return err
	}
	p, err := s.place("soak")
	if err != nil {
		return err
	}
	k := &soak{daemon: newEngineLite(o, p, "runc", "").(*daemon), seed: o.seed}
	// The smallest size: the journal reaches its final size within the first minute.
	k.args = append(k.args, "--events-max-size", "1MiB")
	_, _ = fmt.Fprintf(out, "soak: %d minutes, seed %d\n", o.soak, o.seed)
	err = k.open(ctx)
	if err == nil {
		err = k.soak(ctx, o.soak, out)
	}
	err = errors.Join(err, k.close(context.WithoutCancel(ctx)))
	if err == nil {
		_, _ = fmt.Fprintf(out, "soak: nothing has grown over %d containers\n", k.made.Load())
	}
	return err
}

// soak creates and removes containers for so many minutes, prints a reading after each
// minute, and compares the first reading with the last.
func (k *soak) soak(ctx context.Context, minutes int, out io.Writer) error {
	for range residents {
		id, err := k.create(ctx, container{args: sleepArgs, logged: true, health: residentEvery})
		if err == nil {
			err = k.start(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintln(out, heading())
	for minute := range minutes {
		if err := k.churn(ctx, minute); err != nil {
			return err
		}
		r, err := k.readIdle(ctx)
		if err != nil {
			return err
		}
		k.readings = append(k.readings, r)
		_, _ = fmt.Fprintln(out, r.row(minute+1, k.made.Load()))
	}
	return compare(k.readings[0], k.readings[len(k.readings)-1])
}

// churn is a period in which several containers at a time are created, run and removed. It
// returns when the last is removed, with the first error of each of the users.
func (k *soak) churn(ctx context.Context, minute int) error {
	var users sync.WaitGroup
	errs, end := make([]error, concurrency), time.Now().Add(period)
	for i := range concurrency {
		random := rand.New(rand.NewPCG(k.seed, uint64(minute*concurrency+i)))
		users.Go(func() {
			for errs[i] == nil && time.Now().Before(end) {
				errs[i] = errors.Join(k.runScenario(ctx, scenarios[random.IntN(len(scenarios))], random),
					context.Cause(ctx))
			}
		})
	}
	users.Wait()
	return errors.Join(errs...)
}

// readIdle reads all gauges while the engine is idle.
func (k *soak) readIdle(ctx context.Context) (*reading, error) {
	k.http.CloseIdleConnections()
	r := &reading{}
	for range readsPerReading {
		if err := pause(ctx, readEvery); err != nil {
			return nil, err
		}
		next, err := k.read(ctx)
		if err != nil {
			return nil, err
		}
		r.least(next)
	}
	return r, nil
}
