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

// weighAll measures what engines take of the memory, one after the other: two that run from the same file would each
// be told half of it.
func (s *session) weighAll(ctx context.Context) error {
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
		d, _ := s.bring(ctx, k).(*daemon)
		if d == nil {
			continue
		}
		s.noteVersion(ctx, d)
		f, err := d.weigh(ctx, s.sizes.resident)
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

// weigh measures the daemon just started, which leaves out what importing an image took, after one container has come
// and gone, and with many that run.
func (d *daemon) weigh(ctx context.Context, n int) (figures, error) {
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
	ids, _, err := d.crowd(ctx, n)
	if err != nil {
		_, e := d.disperse(ctx, ids)
		return nil, errors.Join(err, e)
	}
	with, err := d.settled(ctx)
	_, e := d.disperse(ctx, ids)
	return figures{"memory": fresh.pss / 1e6, "memory-each": (with.pss - before.pss) / 1e6 / float64(n)}, errors.Join(err, e)
}

// settled weighs a daemon once it has stopped growing or shrinking: three times in a row within 1 %.
func (d *daemon) settled(ctx context.Context) (w weight, err error) {
	const times, pause = 3, 300 * time.Millisecond
	same := 0
	for range 50 {
		select {
		case <-ctx.Done():
			return w, ctx.Err()
		case <-time.After(pause):
		}
		last := w
		if w, err = weigh(d.target); err != nil {
			return w, err
		}
		if same++; math.Abs(w.pss-last.pss) > w.pss/100 || w.processes != last.processes {
			same = 0
		}
		if same == times {
			break
		}
	}
	return w, nil // of something that never rests, the last
}

// commits measures a commit of the journal, alone, on the disk that the engines use: it is in the way of each exit.
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
			tx.Append(journal.Event{Type: "container", Action: "die", ID: key, Generation: 1, Attributes: map[string]string{"exitCode": "0"}})
			return nil
		})
		if err != nil {
			return err
		}
		s.report.add(commitTarget, "", i+1, figures{"commit": elapsed()})
	}
	return nil
}
