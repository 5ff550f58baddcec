// Package logfile keeps a log file from growing without end, for a daemon whose output somebody else has sent there.
package logfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Bound looks at a log every now and then until stop is called. If the log is longer than limit bytes, its content goes
// to the file with ".1" behind its name, in place of what was there, and the log begins anew. So both have limit bytes,
// and what is written between two looks. Lines that are written in the moment of a change may be lost.
//
// The log is open for appending (O_APPEND of open(2)): others that have it open go on at its new end. A file that is not
// a regular one is left alone. Bound reports errors to failed, from a goroutine that ends before stop returns.
func Bound(log *os.File, limit int64, every time.Duration, failed func(error)) (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() { // ends when stop is called
		defer close(done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				if err := cut(log, limit); err != nil {
					failed(err)
				}
			}
		}
	}()
	return func() {
		close(ended)
		<-done
	}
}

// cut makes a log empty that has become too long. Where its content cannot be kept, the log is made empty all the same: a
// full disk is the likely reason.
func cut(log *os.File, limit int64) error {
	info, err := log.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() <= limit {
		return err
	}
	kept := keep(log, info)
	if err := errors.Join(kept, log.Truncate(0)); err != nil {
		return fmt.Errorf("a log of %d bytes: %w", info.Size(), err)
	}
	return nil
}

// keep copies the log to the file beside it.
func keep(log *os.File, info os.FileInfo) error {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", log.Fd()))
	if err != nil {
		return err
	}
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	if same, err := from.Stat(); err != nil || !os.SameFile(info, same) {
		return errors.Join(err, errors.New("another file has its name"))
	}
	to, err := os.OpenFile(name+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
