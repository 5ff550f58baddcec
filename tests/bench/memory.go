package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/engine-lite/engine-lite/journal"
)

// measureMemoryOfAll measures the memory of engines, one after the other: of two engines
// with the same program, each would count a half of the shared pages.
func (s *session) measureMemoryOfAll(ctx context.Context) error {
	if !chosen(s.options.rows, "memory") && !chosen(s.options.rows, "memory-each") {
		return nil
	}
	for _, k := range s.kinds() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if k.name == "runc" || k.name == "crun" {
			continue // has no process
		}
		progress("memory of %s", k.name)
		d, _ := s.openTarget(ctx, k).(*daemon)
		if d == nil {
			continue
		}
		s.noteVersion(ctx, d)
		f, err := d.measureMemory(ctx, s.sizes.resident)
		if err != nil {
			s.fail(k.name, "memory", err)
		} else {
			s.report.add(k.name, d.runtime(), 1, f)
		}
		if err := d.close(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// measureMemory measures the memory of a daemon that was just started, and so has no
// memory of the import of an image: after one container was run and removed, and with many
// containers running.
func (d *daemon) measureMemory(ctx context.Context, n int) (figures, error) {
	if err := d.again(ctx); err != nil {
		return nil, err
	}
	fresh, err := d.settled(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := runDaemon(ctx, d, sizes{}); err != nil {
		return nil, err
	}
	before, err := d.settled(ctx)
	if err != nil {
		return nil, err
	}
	ids, _, err := d.startMany(ctx, n)
	if err != nil {
		_, e := d.removeMany(ctx, ids)
		return nil, errors.Join(err, e)
	}
	with, err := d.settled(ctx)
	_, e := d.removeMany(ctx, ids)
	return figures{"memory": fresh.pss / 1e6, "memory-each": (with.pss - before.pss) / 1e6 / float64(n)},
		errors.Join(err, e)
}

// settled measures a daemon's memory until three measurements in a row are within 1 %.
func (d *daemon) settled(ctx context.Context) (w usage, err error) {
	const times, pause = 3, 300 * time.Millisecond
	same := 0
	for range 50 {
		select {
		case <-ctx.Done():
			return w, ctx.Err()
		case <-time.After(pause):
		}
		last := w
		if w, err = usageOf(d.target); err != nil {
			return w, err
		}
		if same++; math.Abs(w.pss-last.pss) > w.pss/100 || w.processes != last.processes {
			same = 0
		}
		if same == times {
			break
		}
	}
	return w, nil // the last one, if they never are
}

// commits measures a commit of the journal, alone, on the disk that the engines use. Each
// exit waits for a commit.
func (s *session) commits(ctx context.Context) (err error) {
	if !chosen(s.options.rows, "commit") && !chosen(s.options.rows, "die") && !chosen(s.options.rows, "wait") {
		return nil
	}
	dir := filepath.Join(s.dir, commitTarget)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	j, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	record := make([]byte, 2<<10) // as large as a container's
	for i := range 200 {
		elapsed := stopwatch()
		err := j.Commit(ctx, func(tx *journal.Tx) error {
			key := fmt.Sprintf("%064d", i%50)
			tx.Put("container", key, record)
			tx.Append(journal.Event{Type: "container", Action: "die", ID: key, Generation: 1,
				Attributes: map[string]string{"exitCode": "0"}})
			return nil
		})
		if err != nil {
			return err
		}
		s.report.add(commitTarget, "", i+1, figures{"commit": elapsed()})
	}
	return nil
}
