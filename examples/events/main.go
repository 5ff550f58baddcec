// Command events stores the events of an engine in a database, each exactly once: events SOCKET DATABASE
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/engine-lite/engine-lite/events"
)

// database has the results and the position. It is the cursor of events.Consume.
type database struct {
	*bbolt.DB
	what string // what the event that is handled now tells
}

func (d *database) Load(context.Context) (p events.Position, err error) {
	return p, d.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte("consumer")); b != nil {
			return json.Unmarshal(b.Get([]byte("position")), &p)
		}
		return nil
	})
}

func (d *database) Save(_ context.Context, p events.Position) error {
	return d.Update(func(tx *bbolt.Tx) error { // one transaction: the result and the position, or neither
		b, err := tx.CreateBucketIfNotExists([]byte("consumer"))
		if err != nil {
			return err
		}
		tx.OnCommit(func() { fmt.Println(p.Seq, d.what) })
		n, err := b.NextSequence()
		position, _ := json.Marshal(p)
		result := fmt.Appendf(nil, "%s %d %s", p.Journal, p.Seq, d.what)
		return errors.Join(err, b.Put(fmt.Appendf(nil, "result %020d", n), result), b.Put([]byte("position"), position))
	})
}

func main() {
	db, err := bbolt.Open(os.Args[2], 0o600, nil)
	d, engine, ctx := &database{DB: db}, events.Unix(os.Args[1]), context.Background()
	for err == nil {
		err = events.Consume(ctx, engine, d, func(e events.Event) error {
			d.what = e.Action
			return nil
		})
		if gone := new(events.GoneError); errors.As(err, &gone) { // the next event is no longer kept
			d.what = "gap"
			err = d.Save(ctx, events.Position{Journal: gone.Journal, Seq: gone.Oldest - 1})
		}
	}
	fmt.Fprintln(os.Stderr, "events:", err)
	os.Exit(1)
}
