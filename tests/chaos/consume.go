package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/engine-lite/engine-lite/events"
)

// consume is a consumer of the engine's events. It writes each event to a file, and its
// position to another file. If it is killed, the next one goes on from that position.
func consume(args []string) error {
	flags := flag.NewFlagSet("consume", flag.ContinueOnError)
	socket := flags.String("socket", "", "the engine's socket")
	dir := flags.String("dir", "", "where the record and the position are")
	slow := flags.Duration("slow", 0, "how long each event takes")
	reconnect := flags.Duration("reconnect", 0, "how long a connection is used; 0: without a limit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	file, err := openRecord(filepath.Join(*dir, recordFile))
	if err != nil {
		return err
	}
	defer file.Close()
	client := events.Unix(*socket)
	defer client.Close()
	handle := func(e events.Event) error {
		if *slow > 0 {
			sleep(ctx, *slow)
		}
		data, err := json.Marshal(e)
		if err == nil {
			_, err = file.Write(append(data, '\n'))
		}
		return err
	}
	for ctx.Err() == nil {
		once, cancel := ctx, context.CancelFunc(func() {})
		if *reconnect > 0 {
			once, cancel = context.WithTimeout(ctx, *reconnect)
		}
		err := events.Consume(once, client, events.File(filepath.Join(*dir, "cursor")), handle)
		over := once.Err() != nil
		cancel()
		if !over {
			return err
		}
	}
	return nil
}

const recordFile = "record"

// openRecord opens a record to append to. It cuts off an unfinished line that a killed
// consumer has left: that event comes again.
func openRecord(path string) (*os.File, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(int64(bytes.LastIndexByte(data, '\n') + 1)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
